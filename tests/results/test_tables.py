"""Tables of the report, from made-up result files whose truth is worked by hand."""

import numpy as np
import pytest
from conftest import tracked_results
from made import LABELS, LENGTHS, N, pretrained, run, some
from scipy import stats

from lab import files, record
from lab.results import beyond, evidence, perplexity, plan, sentences, tables
from lab.results.cells import MISSING, best_run, changes, in_table, pretrained_pairs


def test_only_the_tables_own_runs_are_in_it():
    assert [result["run_id"] for result in in_table(some())] == [
        "rnn-1x1-100d-s2077",
        "rnn-1x1-100d-s2078",
        "lstm-1x1-100d-s2077",
    ]


def test_accuracies_with_their_spread():
    row = tables.accuracy_table(some(), 100).set_index("$N_L$-$N_D$").loc["1-1"]
    assert row.tolist() == ["**71.00** ± 1.41（n=2）", "**86.00**（n=1）"]
    wide = tables.accuracy_table(some(), 300)
    assert wide["$N_L$-$N_D$"].tolist() == ["1-1", "1-2"]
    assert set(wide["RNN"]) == {MISSING}


def test_reference_beside_every_cell():
    table = tables.reference_table(some()).set_index("配置")
    assert len(table) == 16
    lstm, rnn = table.loc["LSTM 1-1（100维）"], table.loc["RNN 1-1（100维）"]
    assert (lstm["差"], lstm["再运行一次的预测区间"]) == ("+0.43", "–")  # 86.00 - 85.57
    half = stats.t.ppf(0.975, 1) * 2**0.5 * 1.5**0.5  # t s √(1 + 1/2)
    assert rnn["差"] == "−6.22"  # 71.00 - 77.22
    assert (rnn["再运行一次的预测区间"], rnn["参考值的位置"]) == (f"[{71 - half:.2f}, {71 + half:.2f}]", "区间内")
    assert table.loc["LSTM 5-2（100维）", "均值"] == MISSING
    close = [run(0.72 + shift, SEED=seed) for seed, shift in ((2077, 0.0), (2078, 0.001), (2079, 0.002))]
    assert tables.reference_table(close).iloc[0]["参考值的位置"] == "高于区间"


def test_cells_that_fall_short():
    row = tables.short_table(some()).iloc[0]
    assert row["差"] == "−6.22"
    assert row["选中的轮"] == "2、2"
    assert (row["训练损失"], row["验证损失"]) == (pytest.approx(0.4), pytest.approx(0.4))
    assert row["回升轮数"] == "2/6"
    assert (row["梯度中位数"], row["梯度最大值"]) == ("1.25", "40.0")
    assert tables.short_table([run(0.7722 - plan.SHORT + 0.0008)]).empty
    assert tables.short_table([]).empty
    old = some()[:1]
    for epoch in old[0]["history"]:
        del epoch["grad_norm"], epoch["grad_norm_max"]
    assert tables.short_table(old).iloc[0]["梯度中位数"] == "–"


def test_other_settings_beside_the_same_seeds():
    found = changes(some())  # the control with random vectors has a row of its own
    assert [(change.cell.label, change.label) for change in found] == [("RNN 1-1（100维）", "`GRAD_CLIP=1`")]
    assert [(before["run_id"], after["run_id"]) for before, after in found[0].pairs] == [
        ("rnn-1x1-100d-s2077", "rnn-1x1-100d-s2077-clip1")
    ]
    assert not changes(some()[:3])
    assert not changes(some()[1:])  # nothing to compare with


def test_what_changes_are_worth():
    runs = [*some(), run(0.85, MODEL_BASE="LSTM", SEED=2078), pretrained(0.90, 2077), pretrained(0.90, 2078)]
    table = tables.gain_table(runs).set_index("比较")
    assert table.loc["LSTM 1-1：随机词向量→GloVe", ["种子数", "差"]].tolist() == [1, "+6.00"]
    assert table.loc["RNN 1-1（100维）：默认→`GRAD_CLIP=1`", ["差", "95%区间"]].tolist() == ["+8.00", "–"]
    # +4 and +5 points: mean 4.5, half width t(0.975, 1) = 12.706 times 0.5
    assert table.loc["LSTM 1-1：GloVe→语言模型初始化"].tolist() == [
        2,
        "85.50",
        "90.00",
        "+4.50",
        "[−1.85, +10.85]",
    ]
    assert tables.gain_table([]).empty


def test_pre_training_seed_by_seed():
    runs = [run(0.86, MODEL_BASE="LSTM"), pretrained(0.90, 2077)]
    runs += [run(0.85, MODEL_BASE="LSTM", SEED=2078), pretrained(0.90, 2078)]
    table = perplexity.pretraining_gain(runs)
    assert table["种子"].tolist() == ["2077", "2078", "2个种子的均值"]
    assert table["提高"].tolist() == ["+4.00", "+5.00", "+4.50"]
    # 80 of 2,000 reviews turn right: 1.96 * sqrt(0.04 * 0.96 / 1999)
    assert table["95%区间"].tolist()[::2] == ["[+3.14, +4.86]", "[−1.85, +10.85]"]


def test_controls():
    table = tables.control_table(some(), []).set_index("模型")["测试准确率（%）"]
    assert table.to_dict() == {
        "RNN 1-1，GloVe": "**71.00** ± 1.41（n=2）",
        "RNN 1-1，随机词向量": MISSING,
        "LSTM 1-1，GloVe": "**86.00**（n=1）",
        "LSTM 1-1，随机词向量": "**80.00**（n=1）",
        "TF-IDF（词与词对）加逻辑回归": MISSING,
    }


def test_our_best_of_each_kind_stands_among_the_published():
    linear = run(0.91) | dict(kind="linear", run_id="tfidf-logreg-s2077")
    table = beyond.published_table([*some(), pretrained(0.90, 2077)], [linear])
    ours = table[table["来源"] == "本报告"].set_index("准确率")["方法"]
    assert list(ours.index) == [pytest.approx(86), pytest.approx(90), pytest.approx(91)]
    assert ours.iloc[0].endswith("实验表：`lstm-1x1-100d-s2077`")
    assert table["准确率"].is_monotonic_increasing
    assert len(table) == len(beyond.PUBLISHED) + 3
    assert len(beyond.published_table([run(0.9, DATASET="sample")], [])) == len(beyond.PUBLISHED)


def test_accuracy_by_length():
    summary = dict(
        sizes=dict(test=N),
        test_labels=record.pack_bits(LABELS.astype(bool)),
        test_lengths=record.pack(LENGTHS, "<u2"),
    )
    table = tables.length_table(some(), summary)
    rows = table[table["base"] == "LSTM"].set_index("bin")
    assert rows["reviews"].to_dict() == {"≤100": 1000, "201–300": 500, ">1000": 500}  # 100 belongs to "≤100"
    right = np.arange(N) >= 280
    assert rows.loc[">1000", "accuracy"] == right[LENGTHS == 1500].mean()
    assert rows["low"].lt(rows["accuracy"]).all()
    assert rows["high"].gt(rows["accuracy"]).all()


def test_confusion_and_calibration_of_the_best_run():
    best = best_run(some())
    assert best["run_id"] == "lstm-1x1-100d-s2077"
    assert tables.confusion_matrix(LABELS, record.probabilities(best)).tolist() == [[860, 140], [140, 860]]
    # Both bins hold 1,000 reviews and say 0.1 and 0.9 where 0.14 and 0.86 are positive.
    error, brier = tables.calibration(LABELS, record.probabilities(best))
    assert error == pytest.approx(0.04, abs=1e-4)
    assert brier == pytest.approx(0.86 * 0.01 + 0.14 * 0.81, abs=1e-4)


def test_verdicts_for_the_eye():
    table = tables.verdict_table(evidence.verdicts(some())).set_index("参考报告的结论")
    assert table["判定"].tolist() == ["证据不足", *[MISSING] * 5]
    assert table.iloc[0]["平均差"] == "–"  # one seed in common


def test_readme_shows_the_results_that_are_tracked(monkeypatch):
    monkeypatch.delenv("LAB_HOME", raising=False)
    tracked = {path.stem for path in tracked_results()}
    readme = (files.PROJECT / "README.md").read_text(encoding="utf-8")
    results = [result for result in record.load("aclImdb") if result["run_id"] in tracked]
    for dim in (100, 300):
        for row in tables.accuracy_table(results, dim).itertuples(index=False):
            assert f"| {' | '.join(row)} |" in readme
    linear = [result for result in record.load("aclImdb", "linear") if result["run_id"] in tracked]
    assert tables.accuracy_text(linear) in readme
    for name, pairs in pretrained_pairs(results).items():
        assert sentences.gain(f"`{name}`", "只用词向量", "以语言模型初始化", pairs) in readme
    if beyond.has_run(results):
        assert beyond.sentence(results, linear).partition("（精确")[0].rstrip("。") in readme
