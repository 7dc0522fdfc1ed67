"""The steps to the strongest classifier: which runs are whose, paired gains, the language model's time counted in."""

from __future__ import annotations

import math

import numpy as np
import pytest
from made import LABELS, N, run

from lab import recipes, record
from lab.results import beyond, charts

SPOKEN = [
    dict(run_id=recipes.configs(step, "aclImdb", seed)[1].run_id, seconds=3600.0 * (1 + at))
    for seed in (2077, 2078)
    for at, step in enumerate(recipes.STEPS)
    if step.language
]


def climbed(accuracies: dict[int, list[float]]) -> list[dict]:
    """A run for each step of each seed, one point better from step to step by default."""
    found = []
    for seed, values in accuracies.items():
        for step, accuracy in zip(recipes.STEPS, values, strict=False):
            config, _ = recipes.configs(step, "aclImdb", seed)
            found.append(run(accuracy, **config.as_dict()))
    return found


def test_table_pairs_each_step_with_the_one_before():
    results = climbed({2077: [0.80, 0.82, 0.83, 0.84, 0.85, 0.86], 2078: [0.80, 0.83]})
    assert beyond.has_run(results)
    assert not beyond.has_run(results[:5])
    table = beyond.table(results, SPOKEN)
    assert list(table["步骤"].str.startswith("＋")) == [False, True, True, True, True, True]
    assert list(table["验证准确率"]) == ["81.00", "83.50", "84.00", "85.00", "86.00", "87.00"]
    assert list(table["测试准确率"])[2:] == [f"**{value}.00**（n=1）" for value in (83, 84, 85, 86)]
    assert table["提高"][1].startswith("+2.50 [")
    assert table["提高"][1].endswith("（n=2）")
    assert list(table["提高"])[2:] == ["+1.00（n=1）"] * 4
    hours = [60 / 3600, 2 + 60 / 3600, *[5 + 60 / 3600] * 3, 6 + 60 / 3600]
    assert list(table["用时（小时）"]) == pytest.approx(hours)


def test_sentence_and_picture_follow_the_runs():
    results = climbed({2077: [0.80, 0.82, 0.83, 0.84, 0.85, 0.95]})
    control = run(0.90)
    assert beyond.sentence(results, [control]) == (
        "测试准确率为95.00%（1个种子），比同种子的线性模型（90.00%）高5.00个百分点"
        "（精确McNemar检验，p<0.001；只有一个种子，不反映种子间的波动）。"
    )
    assert "低1.00个百分点" in beyond.sentence(climbed({2077: [0.8, 0.8, 0.8, 0.8, 0.8, 0.89]}), [control])
    assert beyond.sentence(results, []) == "测试准确率为95.00%（1个种子）。"
    both = [*results, *climbed({2078: [0.8, 0.8, 0.8, 0.8, 0.8, 0.93]})]
    # +5 and +3 points: mean 4, half width t(0.975, 1) = 12.706 times 1
    assert beyond.sentence(both, [control, run(0.90, SEED=2078)]).endswith("高4.00个百分点，95%区间[−8.71, +16.71]。")
    assert beyond.strongest_sentence(results, [control]).startswith("256个隐藏单元的双向LSTM，以语言模型初始化，")
    assert math.isnan(beyond.hours(results[-1], []))
    fig = charts.accuracy_by_hours([(each, beyond.hours(each, SPOKEN)) for each in results], beyond.published())
    [axis] = fig.axes
    points = [tuple(point) for collection in axis.collections for point in collection.get_offsets()]
    expected = [(beyond.hours(each, SPOKEN), each["test"]["accuracy"] * 100) for each in results]
    np.testing.assert_allclose(sorted(points), sorted(expected))
    assert sorted(line.get_ydata()[0] for line in axis.lines) == [92.76, 94.06, 94.09]


def test_steps_are_named_by_what_they_change():
    first, second, third, fourth, fifth, sixth = beyond.names()
    assert first.startswith("只用词向量")
    assert second == "以语言模型初始化"
    assert third == "隐藏单元由64个增至256个，训练5轮，语言模型训练用的词元由3千万增至6千万"
    assert "汇聚全部状态" in fourth
    assert "每批64篇" in fourth
    assert fifth == "对抗训练（$\\varepsilon=1.2$）"
    assert sixth == "分类器与语言模型改为双向"
    assert (
        "每个方向有256个隐藏单元，每批64篇，训练5轮，输出层之前的dropout率是0.5，学习率由0.001逐步降到0"
        in beyond.settings()
    )


def test_what_all_steps_are_worth_whether_or_not_each_was_run():
    whole = climbed({2077: [0.80, 0.82, 0.83, 0.84, 0.85, 0.95]})
    assert beyond.together(whole) == (
        "与第一行相比，最后一步的测试准确率按种子配对平均提高15.00个百分点（只有一个种子）。"
    )
    assert beyond.together([*whole[:2], whole[-1]]).startswith(
        "第3、4、5行没有单独运行，因此无从区分它们与下一行各自的贡献"
    )
    assert beyond.together(whole[1:]) == ""
    two = [*whole, *climbed({2078: [0.80, 0.82, 0.83, 0.84, 0.85, 0.93]})]
    assert "平均提高14.00个百分点（2个种子，95%区间[+1.29, +26.71]）。" in beyond.together(two)


def test_mean_of_several_models():
    config, _ = recipes.configs(recipes.STEPS[-1], "aclImdb", 2077)
    settings = config.as_dict()
    # Each is wrong on another tenth: of three models two are always right.
    runs = [run(0.9, wrong_from=at * N // 10, **settings | dict(SEED=2077 + at)) for at in range(3)]
    for each in runs:
        each["run_id"] = recipes.configs(recipes.STEPS[-1], "aclImdb", each["config"]["SEED"])[0].run_id
    summary = dict(
        sizes=dict(test=N),
        test_labels=record.pack_bits(LABELS > 0),
        test_lengths=record.pack(np.ones(N), "<u2"),
    )
    assert beyond.ensembles(runs[:1], [], summary) == ""
    assert beyond.ensembles(runs, [], summary).endswith("3个种子的概率取平均后，测试准确率为100.00%。")
    # Linear models that are all wrong on the first three tenths outvote the others there: 0.1 against (0.9 + 0.9 + 0.1) / 3.
    linear = [run(0.7, SEED=2077 + at) for at in range(3)]
    assert beyond.ensembles(runs, linear, summary).endswith("；再与同种子线性模型的概率一起平均，为70.00%。")
    assert "线性模型" not in beyond.ensembles(runs, linear[:2], summary)


@pytest.mark.parametrize(
    ("accuracy", "end"),
    [(0.96, "，只有一个种子，不足以作出判断。"), (0.94, "验证损失没有降低，只有一个种子，不足以作出判断。")],
)
def test_virtual_adversarial_training_is_judged_on_validation(accuracy, end):
    results = climbed({2077: [0.80, 0.82, 0.83, 0.84, 0.95, 0.96], 2078: [0.80, 0.82, 0.83, 0.84, 0.97, 0.98]})
    assert beyond.virtual(results) == ""
    settings = {**results[4]["config"], "VIRTUAL": 1.2}
    text = beyond.virtual([*results, run(accuracy, **settings)])
    assert f"验证损失由0.0500变为{1 - accuracy:.4f}，测试准确率由95.00%变为{accuracy:.2%}" in text
    assert text.endswith(end)
