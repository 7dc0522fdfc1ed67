"""What the results cannot say, each branch met once."""

import numpy as np
import pandas as pd
import pytest
from made import run, some

from lab.results import evidence, limits
from lab.results.cells import REFERENCE, Cell


def covering(result: dict, share: float) -> dict:
    """The same run on vectors that cover so much of the training text."""
    result["data"]["vectors"]["covered_tokens"] = share
    return result


def test_fewer_seeds_than_planned_are_told():
    assert limits.departures([run(0.7, EMBEDDING_DIM=300)]) == (
        "**与计划的出入**　RNN 1-1（300维）计划5个种子，实际1个。"
    )
    deep = [run(0.7, N_LAYERS=5, SEED=seed) for seed in (2077, 2078, 2079)]
    assert limits.departures(deep) == ""
    assert limits.departures(deep[:2]).endswith("RNN 5-1（100维）计划3个种子，实际2个。")
    many = [
        run(0.7, MODEL_BASE=base, N_LAYERS=n, BIDIRECTIONAL=two)
        for base in ("RNN", "LSTM")
        for n in (1, 2)
        for two in (False, True)
    ]
    assert "8个配置计划5个种子，实际1个" in limits.departures(many)
    assert limits.departures([]) == ""


def test_references_outside_their_interval_are_named_and_only_comparable_ones_are_counted():
    one, two, three, four, *_ = REFERENCE
    frame = pd.DataFrame(
        [
            dict(cell=one, low=0.7, place=evidence.INSIDE, alike=True),
            dict(cell=two, low=0.7, place="低于区间", alike=True),
            dict(cell=three, low=0.7, place=evidence.INSIDE, alike=False),
            dict(cell=four, low=np.nan, place="–", alike=True),
        ]
    )
    text = limits.places(frame)
    assert text.startswith(
        f"与参考报告可比、有预测区间的2个配置中，1个的参考值在区间内，例外的是{two.label}（低于区间）。这些区间较宽，参考值落在其中不等于复现了参考报告。"
    )
    assert f"参考报告没有给出词向量的覆盖率；{three.label}所用词向量的覆盖率可能与它相差" in text
    assert limits.places(frame[:1]).startswith("与参考报告可比、有预测区间的1个配置中，1个的参考值在区间内。这些")
    assert limits.places(frame[3:]) == ""


def test_vectors_like_the_references_are_complete_or_cover_nearly_everything():
    def alike(result):
        return evidence.reference_table([result]).set_index("cell").loc[[Cell("RNN", 1, 1, 100)], "alike"].item()

    assert not alike(covering(run(0.7), 0.98))
    assert alike(covering(run(0.7), 0.995))
    whole = covering(run(0.7), 0.5)
    whole["data"]["vectors"]["complete"] = True
    assert alike(whole)


def test_other_reviews_are_not_compared_with_the_reference():
    made = [run(0.5, DATASET="sample")]
    assert limits.short(made) == limits.places(evidence.reference_table(made), "sample") == limits.OTHER_REVIEWS


def test_which_cells_fall_short_and_what_clipping_changes():
    text = limits.short(some())
    assert "配置有1个：RNN 1-1（100维）。" in text
    assert (
        "RNN 1-1（100维）的2次运行的测试准确率为70.00%、72.00%，都低于参考值77.22%；词向量只覆盖训练集词元的75.0%，与参考报告不可比"
        in text
    )
    assert "RNN 1-1（100维）裁剪梯度（`GRAD_CLIP=1`），测试准确率比不裁剪高8.00个百分点（只有一个种子）。" in text
    assert "没有裁剪梯度的对照实验" not in text
    assert limits.short([run(0.70)]).endswith("。RNN 1-1（100维）没有裁剪梯度的对照实验。")
    assert limits.short([run(0.86, MODEL_BASE="LSTM")]) == "没有一个配置的均值比参考报告低1.0个百分点以上。"


@pytest.mark.parametrize(
    ("accuracies", "said"),
    [
        ((0.70,), "的1次运行的测试准确率为70.00%，低于参考值77.22%；只有一个种子，无法估计波动。"),
        ((0.90, 0.50), "其中1次低于参考值77.22%；再运行一次的预测区间[−370.16, 510.16]超出了准确率的范围"),
        ((0.74, 0.75, 0.77), "包含参考值，不足以断定二者不同。"),
        ((0.70, 0.701, 0.702), "不含参考值，原因尚不清楚。"),
    ],
)
def test_a_cell_below_the_reference_is_described_by_its_runs(accuracies, said):
    runs = [covering(run(accuracy, SEED=2077 + at), 1.0) for at, accuracy in enumerate(accuracies)]
    assert said in limits.short(runs)


def test_runs_that_did_no_better_than_guessing_are_told():
    still, moving = run(0.6, MODEL_BASE="LSTM"), run(0.8, MODEL_BASE="LSTM", SEED=2078)
    for epoch in still["history"]:
        epoch |= dict(valid_loss=0.693, grad_norm=0.04)
    for epoch in moving["history"]:
        epoch |= dict(valid_loss=0.5, grad_norm=1.5)
    assert limits.stuck([still, moving]) == (
        "各次运行依次有4、0轮的验证损失停在随机猜测的ln 2附近；这些轮次里梯度范数的中位数是0.04，其余轮次是1.50。"
        "`lstm-1x1-100d-s2077`没有一轮的验证损失明显低于ln 2（测试准确率60.00%）。"
    )
    assert limits.stuck([moving]) == ""


def test_runs_that_were_best_in_their_last_epoch_are_named():
    early, late = run(0.8), run(0.8, SEED=2078)
    late["best_epoch"] = late["config"]["N_EPOCHS"]
    early["best_epoch"] = 1
    assert f"有1次运行选中最后一轮：`{late['run_id']}`。" in limits.unfinished([early, late])
    assert limits.unfinished([early]) == ""


def test_the_references_own_differences_stand_beside_the_visible_ones():
    frame = pd.DataFrame(
        [
            dict(claim="深层（5层）时双向有害", verdict="证据不足", visible=0.1),
            dict(claim="LSTM优于RNN", verdict="成立", visible=0.01),
        ]
    )
    text = limits.power(frame)  # (75.28 - 74.14 + 84.47 - 84.56) / 2
    assert "“深层（5层）时双向有害”+0.53（可检出差异10.00），都小于可检出差异" in text
    assert "LSTM优于RNN" not in text
    assert "小于可检出差异" not in limits.power(frame.assign(visible=0.001))
    assert limits.power(frame[1:]) == ""


def test_vectors_of_unlike_coverage_are_told():
    pair = [covering(run(0.8, MODEL_BASE="LSTM"), 0.99), covering(run(0.8, MODEL_BASE="LSTM", EMBEDDING_DIM=300), 0.85)]
    assert "（100维的99.0%与300维的85.0%）" in limits.vectors(pair)
    assert "清洗规则" not in limits.vectors(pair)
    pair[1]["data"]["fingerprint"] = "older"
    assert limits.vectors(pair).endswith("300维的运行所用的影评按较早一版的规则清洗。")
    assert limits.departures(pair).endswith("；300维的运行所用的影评按较早一版的规则清洗，与100维的不同。")
    assert limits.vectors([pair[0], covering(pair[1], 0.99)]) == ""


def test_processors_are_counted():
    runs = [run(0.8, SEED=seed) | dict(processor=name) for seed, name in ((1, "甲"), (2, "乙"), (3, "甲"))]
    text = limits.processors(runs)
    assert "2次分类训练在甲上完成，1次在乙上（`rnn-1x1-100d-s2`）。" in text
    assert text.endswith("在不同处理器上完成的两次运行，其差异也包含舍入造成的部分。")
    assert limits.processors(runs[:1]).endswith("不保证训练出相同的模型。")
    assert limits.processors([run(0.8)]) == ""
