"""Sentences with branches, each branch met once."""

import numpy as np
import pandas as pd
import pytest
from made import N, pretrained, run, some

from lab import record
from lab.data import sample
from lab.results import evidence, sentences, tables
from lab.results.cells import MISSING, pretrained_pairs, random_pairs


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
    assert sample.NOTICE in sentences.foundation("sample", [])
    assert sentences.mean_gap(some()[:1]) == (pytest.approx(0.0), pytest.approx(0.5))


def test_the_abstract_follows_the_results():
    few = sentences.abstract("aclImdb", [run(0.70)], [], [], evidence.verdicts([run(0.70)]))
    more = sentences.abstract("aclImdb", [run(0.75)], [], [], evidence.verdicts([run(0.75)]))
    assert "RNN为70.00%（1个种子）" in few
    assert "RNN为75.00%（1个种子）" in more
    assert "LSTM为" not in few
    assert "语言模型**" not in few
    assert "1-1，即层数-方向数" in few
    assert "1次用glove.6B.100d（子集，7个词，覆盖训练集词元的75.0%）。" in few
    kinds = sentences.runs_by_vectors([run(0.7), run(0.7, SEED=2078), run(0.7, VECTORS="random")])
    assert kinds.startswith("2次用glove.6B.100d（")
    assert kinds.endswith("，1次用随机词向量")


def test_kinds_are_ranked_by_what_they_reached():
    found = {"甲": [run(0.9), run(0.8)], "乙": [run(0.7)], "丙": []}
    assert (
        sentences.ranking(found)
        == "1层的循环网络与线性模型按测试准确率由低到高为：乙 70.00%；甲 85.00%。相邻两项的差异未必显著。"
    )
    assert sentences.ranking({"甲": [run(0.9)], "丙": []}) == ""


def test_mistakes_follow_lengths_and_matrix():
    lengths = pd.DataFrame(dict(base=["RNN", "RNN"], bin=["≤100", ">1000"], accuracy=[0.9, 0.8]))
    text = sentences.mistakes(lengths, np.array([[90, 10], [20, 80]]))
    assert text == (
        "最长一组影评的准确率与最短一组相比，RNN低10.0个百分点。"
        "[图](#confusion)的混淆矩阵中，正面影评的误判率（20.0%）高于负面影评的（10.0%）。这些只是描述，没有作检验。"
    )


def verdicts_of(accuracies: dict, seeds=(2077, 2078, 2079)) -> tuple[pd.Series, str]:
    """Row of the table and words on 'LSTM优于RNN' where base -> accuracies of the 1-1 cell over seeds."""
    runs = [
        run(accuracy, MODEL_BASE=base, SEED=seed)
        for base, values in accuracies.items()
        for seed, accuracy in zip(seeds, values, strict=False)
    ]
    found = evidence.verdicts(runs)
    return tables.verdict_table(found).iloc[0], sentences.reasons(found[:1])


def test_verdicts_and_what_the_table_does_not_say():
    row, text = verdicts_of({"LSTM": (0.86, 0.861, 0.862), "RNN": (0.76, 0.762, 0.761)})
    assert row[["判定", "配对", "种子", "平均差"]].tolist() == ["成立", 1, 3, "+10.00"]
    assert text == ""
    row, text = verdicts_of({"LSTM": (0.80, 0.76, 0.78), "RNN": (0.76, 0.78, 0.77)})
    assert (row["判定"], text) == ("证据不足", "")
    row, text = verdicts_of({"RNN": (0.86, 0.861, 0.862), "LSTM": (0.76, 0.762, 0.761)})
    assert row["判定"] == "不成立"
    assert "“LSTM优于RNN”有方向相反且显著的配对（百分点）：LSTM 1-1（100维）对RNN 1-1（100维）−10.00（" in text
    assert "“LSTM优于RNN”的各配对都只有一个种子" in verdicts_of({"LSTM": (0.86,), "RNN": (0.76,)})[1]
    assert verdicts_of({})[1] == "“LSTM优于RNN”还没有可以比较的运行。"
    wide = [run(0.8), run(0.7, EMBEDDING_DIM=300)]
    wide[1]["data"]["vectors"]["covered_tokens"] = 0.5
    text = sentences.reasons(evidence.verdicts(wide))
    assert text.startswith("“词向量由100维增至300维，RNN变差”不可比：两种维数的词向量对词元的覆盖率相差超过1个百分点")


def test_what_clipping_is_worth_follows_the_results():
    assert sentences.settings(some()) == [
        "裁剪梯度（`GRAD_CLIP=1`）后，测试准确率的变化（百分点，括号内为种子数与95%区间）依次为："
        "RNN 1-1（100维）+8.00（只有一个种子）。"
    ]
    other = sentences.settings([run(0.7), run(0.72, HIDDEN_DIM=128)])
    assert [text.partition("，")[0] for text in other] == ["改取`HIDDEN_DIM=128`后"]


def test_validation_beside_test_accuracy():
    runs = {"RNN": [run(0.7), run(0.72)], "LSTM": []}
    assert sentences.optimism(runs) == "RNN的验证准确率平均比测试准确率高1.00个百分点。"
    for each in runs["RNN"]:
        each["valid"]["accuracy"] -= 0.03
    assert "RNN的验证准确率平均比测试准确率低2.00个百分点。" in sentences.optimism(runs)
    assert sentences.optimism({"RNN": []}) == ""
