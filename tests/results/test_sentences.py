"""Sentences with branches, each branch met once."""

import numpy as np
import pandas as pd
import pytest
from made import N, pretrained, run, some

from lab import record
from lab.results import evidence, sentences
from lab.results.cells import MISSING, REFERENCE, pretrained_pairs, random_pairs
from lab.results.plan import CLAIMS


def test_which_cells_fall_short_and_what_clipping_changes():
    text = sentences.short(some())
    assert "配置有1个：RNN 1-1（100维）。" in text
    assert "RNN 1-1（100维）取`GRAD_CLIP=1`，测试准确率比默认设置高8.00个百分点（只有一个种子）。" in text
    assert "原因未测" not in text
    assert sentences.short([run(0.70)]).endswith("RNN 1-1（100维）没有做裁剪梯度的对照，原因尚不清楚。")
    assert sentences.short([run(0.86, MODEL_BASE="LSTM")]) == "没有一个配置的均值比参考报告低1.0个百分点以上。"


def test_what_a_change_is_worth():
    def gain(*accuracies):
        return sentences.gain("丙", "甲", "乙", [(run(a), run(b)) for a, b in accuracies])

    assert gain() == f"丙甲与乙的比较：{MISSING}。"
    assert gain((0.80, 0.86)) == "丙乙，测试准确率比甲高6.00个百分点（只有一个种子）。"
    # −1 and +1 points: mean 0 beside t(0.975, 1) = 12.706 times sqrt(2) / sqrt(2)
    assert gain((0.70, 0.71), (0.72, 0.71)) == (
        "丙乙，测试准确率比甲低0.00个百分点（2个种子，95%区间[−12.71, +12.71]，区间含0，差异不显著）。"
    )
    assert gain((0.70, 0.80), (0.70, 0.80), (0.70, 0.801)).endswith("（3个种子，95%区间[+9.89, +10.18]）。")


def test_pairs_that_share_a_seed():
    runs = [*some(), pretrained(0.90, 2077), run(0.6, VECTORS="random", SEED=1)]
    assert {base: len(pairs) for base, pairs in random_pairs(runs).items()} == {"RNN": 0, "LSTM": 1}
    assert {name: len(pairs) for name, pairs in pretrained_pairs(runs).items()} == {"lstm-1x1-100d": 1}


def test_linear_control():
    linear = run(0.88, wrong_from=1000) | dict(kind="linear", run_id="tfidf-logreg-s2077")
    text = sentences.control(some(), [linear])
    assert "88.00%，高于" in text
    assert "280篇只有线性模型判对，240篇只有循环网络判对" in text  # 0.14 * N and 0.12 * N, no overlap
    assert sentences.control(some(), []) == f"线性对照：{MISSING}。"


def test_repeated_reviews():
    repeated = np.arange(N) < 100  # all of them wrong in the best run
    facts = dict(sizes=dict(test=N), repeated=120, repeated_across_test=80, test_repeated=record.pack_bits(repeated))
    text = sentences.repeated(some(), facts)
    assert "120篇与另一篇完全相同" in text
    assert "80篇也出现在训练集" in text
    assert "由86.00%变为90.53%（+4.53个百分点）" in text  # 1720 of 1900


def test_what_figures_stand_on():
    assert sentences.standing([]) == "还没有运行"
    assert sentences.standing(some()) == "数据为aclImdb，词向量为glove.6B.100d（子集，7个词，覆盖训练集词元的75.0%）"
    assert "16个配置中还有14个未运行" in sentences.foundation("aclImdb", some())
    assert "人造影评" in sentences.foundation("sample", [])
    assert sentences.mean_gap(some()[:1]) == (pytest.approx(0.0), pytest.approx(0.5))


def verdict_of(accuracies: dict, seeds=(2077, 2078, 2079)) -> str:
    """The sentence on 'LSTM优于RNN' where base -> accuracies of the 1-1 cell over seeds."""
    runs = [
        run(accuracy, MODEL_BASE=base, SEED=seed)
        for base, values in accuracies.items()
        for seed, accuracy in zip(seeds, values, strict=False)
    ]
    return sentences.verdict(next(evidence.verdicts(runs).itertuples()))


def test_verdicts_in_words():
    holds = verdict_of({"LSTM": (0.86, 0.861, 0.862), "RNN": (0.76, 0.762, 0.761)})
    assert holds.startswith("“LSTM优于RNN”：成立。1对比较在3个种子上的平均差为+10.00个百分点")
    assert "可检出差异为" in holds
    unclear = verdict_of({"LSTM": (0.80, 0.76, 0.78), "RNN": (0.76, 0.78, 0.77)})
    assert "证据不足。1对比较" in unclear
    against = verdict_of({"RNN": (0.86, 0.861, 0.862), "LSTM": (0.76, 0.762, 0.761)})
    assert "：不成立。" in against
    assert "方向相反且显著的有：LSTM 1-1（100维）对RNN 1-1（100维）−10.00" in against
    assert "只有一个种子" in verdict_of({"LSTM": (0.86,), "RNN": (0.76,)})
    assert verdict_of({}).endswith("8对比较都还没有结果。")
    wide = [run(0.8), run(0.7, EMBEDDING_DIM=300)]
    wide[1]["data"]["vectors"]["covered_tokens"] = 0.5
    rows = list(evidence.verdicts(wide).itertuples())
    assert "不可比" in sentences.verdict(
        rows[[claim.name for claim in CLAIMS].index("词向量由100维增至300维，RNN变差")]
    )


def test_what_clipping_is_worth_follows_the_results():
    text = "".join(sentences.settings(some()))
    assert "取`GRAD_CLIP=1`使测试准确率变化（百分点，95%区间）：RNN 1-1（100维）+8.00（只有一个种子）。" in text


def test_the_abstract_follows_the_results():
    few = sentences.abstract("aclImdb", [run(0.70)], [], [], evidence.verdicts([run(0.70)]))
    more = sentences.abstract("aclImdb", [run(0.75)], [], [], evidence.verdicts([run(0.75)]))
    assert "RNN为70.00%（1个种子）" in few
    assert "RNN为75.00%（1个种子）" in more
    assert "LSTM为" not in few
    assert "语言模型**" not in few


def test_kinds_are_ranked_by_what_they_reached():
    found = {"甲": [run(0.9), run(0.8)], "乙": [run(0.7)], "丙": []}
    assert (
        sentences.ranking(found)
        == "1层单向的各类模型按测试准确率由低到高为：乙，70.00%；甲，85.00%。相邻两项的差异未必显著。"
    )
    assert sentences.ranking({"甲": [run(0.9)], "丙": []}) == ""


def test_runs_that_were_best_in_their_last_epoch_are_named():
    early, late = run(0.8), run(0.8, SEED=2078)
    late["best_epoch"] = late["config"]["N_EPOCHS"]
    early["best_epoch"] = 1
    assert f"有1次运行选中最后一轮：`{late['run_id']}`。" in sentences.unfinished([early, late])
    assert sentences.unfinished([early]) == ""


def test_references_outside_their_interval_are_named():
    one, two, three, *_ = REFERENCE
    frame = pd.DataFrame(
        [
            dict(cell=one, low=0.7, place=evidence.INSIDE),
            dict(cell=two, low=0.7, place="低于区间"),
            dict(cell=three, low=np.nan, place="–"),
        ]
    )
    label = two.label
    assert sentences.places(frame) == f"有预测区间的2个配置中，1个的参考值在区间内，例外的是{label}（低于区间）。"
    assert sentences.places(frame[2:]) == ""


def test_mistakes_follow_lengths_and_matrix():
    lengths = pd.DataFrame(dict(base=["RNN", "RNN"], bin=["≤100", ">1000"], accuracy=[0.9, 0.8]))
    text = sentences.mistakes(lengths, np.array([[90, 10], [20, 80]]))
    assert text == (
        "最长一组影评的准确率与最短一组相比，RNN低10.0个百分点。"
        "混淆矩阵中，正面影评被判错的（20.0%）多于负面影评被判错的（10.0%）。"
    )


def test_runs_that_did_no_better_than_guessing_are_told():
    still, moving = run(0.6, MODEL_BASE="LSTM"), run(0.8, MODEL_BASE="LSTM", SEED=2078)
    for epoch in still["history"]:
        epoch |= dict(valid_loss=0.693, grad_norm=0.04)
    for epoch in moving["history"]:
        epoch |= dict(valid_loss=0.5, grad_norm=1.5)
    assert sentences.stuck("甲", [still, moving]) == (
        "甲的2次运行各有4、0轮的验证损失停在随机猜测的ln 2附近；这些轮次里梯度范数的中位数是0.04，其余轮次是1.50。"
    )
    assert sentences.stuck("甲", [moving]) == ""
