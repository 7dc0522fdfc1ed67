"""Tables and sentences of the report, from made-up result files whose truth is worked by hand."""

import base64
import subprocess
from pathlib import Path

import numpy as np
import pytest

from lab import files, record
from lab.config import Config
from lab.results import evidence, perplexity, sentences, tables
from lab.results.cells import MISSING, SHORT, best_run, in_table, short_cells

N = 2000
LABELS = np.arange(N) % 2
LENGTHS = np.resize([50, 250, 1500], N)
LOSSES = [(0.6, 0.5, 1.0), (0.4, 0.4, 2.0), (0.5, 0.6, 40.0), (0.2, 0.7, 3.0)]  # train, valid, largest norm


def run(accuracy: float, wrong_from: int = 0, **settings) -> dict:
    """The result file of a model that is wrong on a block of reviews, which starts at ``wrong_from``."""
    config = Config(**settings)
    right = np.ones(N, dtype=bool)
    right[wrong_from : wrong_from + round((1 - accuracy) * N)] = False
    probability = np.where(right, 0.9, 0.1) * LABELS + np.where(right, 0.1, 0.9) * (1 - LABELS)
    return dict(
        kind="classifier",
        run_id=config.run_id,
        config=config.as_dict(),
        data=dict(
            fingerprint=f"f{config.SEED}",
            vectors=dict(
                name=config.VECTORS if config.VECTORS == "random" else f"{config.VECTORS}.{config.EMBEDDING_DIM}d",
                words=7,
                complete=False,
                covered_words=0.5,
                covered_tokens=0.75,
            ),
        ),
        history=[
            dict(epoch=at, train_loss=a, valid_loss=b, grad_norm=norm / 2, grad_norm_max=norm)
            for at, (a, b, norm) in enumerate(LOSSES, 1)
        ],
        best_epoch=2,
        valid=dict(loss=1 - accuracy, accuracy=accuracy + 0.01),
        test=dict(
            n=N,
            accuracy=float(right.mean()),
            right=record.encode_bits(right),
            probability=base64.b64encode(probability.astype("<f2").tobytes()).decode(),
        ),
        seconds=60.0,
    )


@pytest.fixture
def results():
    """RNN 1-1 at two seeds, well below the reference; LSTM 1-1 above it; a clipped RNN and a control."""
    return [
        run(0.70),
        run(0.72, SEED=2078),
        run(0.86, MODEL_BASE="LSTM"),
        run(0.78, GRAD_CLIP=1.0),
        run(0.80, VECTORS="random", MODEL_BASE="LSTM"),
    ]


def test_only_the_tables_own_runs_are_in_it(results):
    assert [result["run_id"] for result in in_table(results)] == [
        "rnn-1x1-100d-s2077",
        "rnn-1x1-100d-s2078",
        "lstm-1x1-100d-s2077",
    ]


def test_accuracies_with_interval_or_spread(results):
    row = tables.accuracy_table(results).set_index("N_L-N_D").loc["1-1"]
    assert row["RNN 100维"] == "**71.00** ± 1.41（n=2）"
    low, high = evidence.wilson(1720, N)
    assert row["LSTM 100维"] == f"**86.00** [{low * 100:.2f}, {high * 100:.2f}]"
    assert row["RNN 300维"] == MISSING
    assert tables.accuracy_table(results).set_index("N_L-N_D").loc["5-2", "LSTM 300维"] == "–"  # no such cell


def test_reference_beside_every_cell(results):
    table = tables.reference_table(results).set_index("配置")
    assert len(table) == 16
    lstm, rnn = table.loc["LSTM 1-1（100维）"], table.loc["RNN 1-1（100维）"]
    assert (lstm["差"], lstm["参考值在区间内"]) == ("+0.43", "是")  # 86.00 - 85.57
    assert (rnn["差"], rnn["参考值在区间内"]) == ("-6.22", "否")  # 71.00 - 77.22
    assert table.loc["LSTM 5-2（100维）", "差"] == MISSING


def test_cells_that_fall_short(results):
    cells = short_cells(results)
    assert {cell.label: len(runs) for cell, runs in cells.items()} == {"RNN 1-1（100维）": 2}
    row = tables.short_table(results).iloc[0]
    assert row["与参考之差"] == "-6.22"
    assert row["选中的轮"] == "2、2"
    assert (row["训练损失"], row["验证损失"]) == (pytest.approx(0.4), pytest.approx(0.4))
    assert row["损失回升的轮"] == "2/6"
    assert (row["梯度范数：中位"], row["最大"]) == ("1.25", "40.0")
    just_above = [run(0.7722 - SHORT + 0.0008)]
    assert not short_cells(just_above)
    assert tables.short_table([]).empty


def test_why_cells_fall_short_in_words(results):
    sentence = sentences.short_sentence(results)
    assert "有1格：RNN 1-1（100维）。" in sentence
    assert "中位数的32倍" in sentence  # 40 beside 1.25
    assert "由70.00%变为78.00%（参考为77.22%），补上缺口的111%：缺口主要来自" in sentence  # 8.00 of 7.22
    assert "300维" not in sentence
    in_vain = sentences.short_sentence([run(0.70), run(0.69, GRAD_CLIP=1.0)])
    assert "由70.00%变为69.00%（参考为77.22%），缺口没有缩小：偶发的大梯度解释不了" in in_vain
    assert sentences.short_sentence([run(0.86, MODEL_BASE="LSTM")]) == "没有一格的均值比参考低1.5个百分点以上。"


def test_thin_vectors_are_named_where_a_wide_cell_falls_short():
    plain, wide = run(0.78), run(0.70, EMBEDDING_DIM=300)
    assert "300维的词向量" not in sentences.short_sentence([plain, wide])  # as many words
    plain["data"]["vectors"]["covered_tokens"] = 0.9
    assert "只覆盖训练集词元的75.0%，少于100维的90.0%" in sentences.short_sentence([plain, wide])


def test_validation_beside_test(results):
    assert "高1.0个百分点：测试集里的电影" in sentences.films_sentence(results)
    sample = [run(0.7, DATASET="sample")]
    assert sentences.films_sentence(sample) == "这些运行的验证准确率平均比测试准确率高1.0个百分点。"


def test_older_results_have_no_gradient_norms(results):
    for epoch in results[0]["history"]:
        del epoch["grad_norm"], epoch["grad_norm_max"]
    assert tables.short_table(results[:1]).iloc[0]["梯度范数：中位"] == "–"


def test_other_settings_beside_the_same_seeds(results):
    table = tables.settings_table(results)
    assert len(table) == 1  # the control with random vectors has a table of its own
    row = table.iloc[0]
    assert (row["配置"], row["改动"], row["种子数"]) == ("RNN 1-1（100维）", "`GRAD_CLIP=1`", 1)
    assert row["差"] == "+8.00"  # beside seed 2077 alone
    assert row["验证准确率"] == "71.00→79.00"
    assert tables.settings_table(results[:3]).empty
    assert tables.settings_table(results[1:]).empty  # nothing to compare with


def test_controls(results):
    table = tables.control_table(results, []).set_index("模型")["运行数"]
    assert table.to_dict() == {
        "RNN，1层单向，GloVe": 2,
        "RNN，1层单向，随机词向量": 0,
        "LSTM，1层单向，GloVe": 1,
        "LSTM，1层单向，随机词向量": 1,
        "TF-IDF（词与词对）加逻辑回归": 0,
    }
    linear = run(0.88, wrong_from=1000) | dict(kind="linear", run_id="tfidf-logreg-s2077")
    sentence = sentences.control_sentence(in_table(results), [linear])
    assert "88.00%，高于" in sentence
    assert "280篇只有线性模型判对，240篇只有循环网络判对" in sentence  # 0.14 * N and 0.12 * N, no overlap
    assert sentences.control_sentence(results, []) == f"线性对照：{MISSING}。"


def test_what_vectors_are_worth(results):
    assert sentences.vectors_sentence(results) == (
        "RNN：未运行；LSTM用GloVe比用随机词向量，测试准确率高6.00个百分点（只有一个种子）。"
    )
    random = [run(accuracy, VECTORS="random", SEED=seed) for seed, accuracy in ((2077, 0.71), (2078, 0.71))]
    # +1 and -1 points: mean 0 beside t(0.975, 1) = 12.706 times sqrt(2) / sqrt(2)
    assert "测试准确率低0.00个百分点（2个种子，95%区间[-12.71, +12.71]，含0，分不出高下）" in sentences.vectors_sentence(
        [run(0.72), run(0.70, SEED=2078), *random]
    )


def test_what_a_language_model_to_start_from_is_worth(results):
    def pretrained(accuracy, seed):
        return run(accuracy, MODEL_BASE="LSTM", SEED=seed, PRETRAINED=f"lm-lstm-1x1-100d-s{seed}")

    assert perplexity.pretrained_sentence(results) == ""
    assert perplexity.pretrained_sentence([*results, pretrained(0.90, 2077)]) == (
        "`lstm-1x1-100d`以语言模型为起点，比只用词向量的测试准确率高4.00个百分点（只有一个种子）。"
    )
    runs = [run(0.86, MODEL_BASE="LSTM"), pretrained(0.90, 2077)]
    runs += [run(0.85, MODEL_BASE="LSTM", SEED=2078), pretrained(0.90, 2078)]
    # +4 and +5 points: mean 4.5, half width 12.706 * 0.5
    assert "高4.50个百分点（2个种子，95%区间[-1.85, +10.85]，含0" in perplexity.pretrained_sentence(runs)
    table = perplexity.pretraining_gain(runs)
    assert table["种子"].tolist() == ["2077", "2078", "2个种子的均值"]
    assert table["提高"].tolist() == ["+4.00", "+5.00", "+4.50"]
    # 80 of 2,000 reviews turn right: 1.96 * sqrt(0.04 * 0.96 / 1999)
    assert table["95%区间"].tolist()[::2] == ["[+3.14, +4.86]", "[-1.85, +10.85]"]


def test_our_best_of_each_kind_stands_among_the_published(results):
    runs = [*results, run(0.90, MODEL_BASE="LSTM", PRETRAINED="lm-lstm-1x1-100d-s2077")]
    table = tables.published_table(runs, [run(0.91) | dict(kind="linear", run_id="tfidf-logreg-s2077")])
    ours = table[table["来源"] == "本报告"].set_index("准确率（%）")["方法"]
    assert list(ours.index) == [pytest.approx(86), pytest.approx(90), pytest.approx(91)]
    assert ours.iloc[0].endswith("实验表：`lstm-1x1-100d-s2077`")
    assert table["准确率（%）"].is_monotonic_increasing
    assert len(table) == len(tables.PUBLISHED) + 3
    assert len(tables.published_table([run(0.9, DATASET="sample")], [])) == len(tables.PUBLISHED)


def test_conclusion_takes_up_other_sections(results):
    table = in_table(results)
    text = sentences.conclusion(table, evidence.verdicts(table), "甲。", "", "乙。")
    lines = [line.partition(". ")[2] for line in text.splitlines()]
    assert lines[0] == "在1组相同的层数、方向与维数下，LSTM的测试准确率比RNN高15.0至15.0个百分点。"
    assert lines[-3:-1] == ["甲。", "乙。"]


def test_accuracy_by_length(results):
    summary = dict(
        sizes=dict(test=N),
        test_labels=base64.b64encode(np.packbits(LABELS.astype(bool)).tobytes()).decode(),
        test_lengths=base64.b64encode(LENGTHS.astype("<u2").tobytes()).decode(),
    )
    table = tables.length_table(results, summary)
    rows = table[table["base"] == "LSTM"].set_index("bin")
    assert rows["reviews"].to_dict() == {"≤100": 667, "201–300": 667, ">1000": 666}
    right = np.arange(N) >= 280
    assert rows.loc[">1000", "accuracy"] == right[LENGTHS == 1500].mean()
    assert rows["low"].lt(rows["accuracy"]).all()
    assert rows["high"].gt(rows["accuracy"]).all()
    assert sentences.length_sentence(table).count("个词元的影评上是") == 4


def test_repeated_reviews(results):
    repeated = np.arange(N) < 100  # all of them wrong in the best run
    summary = dict(
        sizes=dict(test=N),
        repeated=120,
        repeated_across_test=80,
        test_repeated=base64.b64encode(np.packbits(repeated).tobytes()).decode(),
    )
    sentence = sentences.repeated_sentence(in_table(results), summary)
    assert "120篇与另一篇完全相同" in sentence
    assert "80篇也出现在训练集" in sentence
    assert "由86.00%变为90.53%（+4.53个百分点）" in sentence  # 1720 of 1900


def test_sentences_of_the_best_run(results):
    assert best_run(results)["run_id"] == "lstm-1x1-100d-s2077"
    headline = sentences.headline(in_table(results))
    assert "`rnn-1x1-100d-s2078`，测试准确率72.00%" in headline
    assert "`lstm-1x1-100d-s2077`，测试准确率86.00%" in headline
    best = best_run(results)
    assert tables.confusion_matrix(LABELS, record.probabilities(best)).tolist() == [[860, 140], [140, 860]]
    # Both bins hold 1,000 reviews and say 0.1 and 0.9 where 0.14 and 0.86 are positive.
    assert "平均相差4.0个百分点" in sentences.calibration_sentence(LABELS, best)
    assert "Brier分数0.122" in sentences.calibration_sentence(LABELS, best)  # 0.86 * 0.01 + 0.14 * 0.81


def test_nothing_run_is_said_so():
    verdicts = evidence.verdicts([])
    assert sentences.conclusion([], verdicts) == f"{MISSING}。"
    assert sentences.headline([]).count(MISSING) == 2
    assert sentences.standing([]) == "还没有运行"
    assert "16格未运行" in sentences.foundation("aclImdb", [], None)
    assert sentences.curves_sentence([]) == "学习曲线："


def test_readme_shows_the_results_that_are_tracked(monkeypatch):
    monkeypatch.delenv("LAB_HOME", raising=False)
    listed = subprocess.run(
        ["git", "ls-files", "report/results/aclImdb"], cwd=files.PROJECT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    tracked = {Path(name).stem for name in listed.stdout.split()}
    readme = (files.PROJECT / "README.md").read_text(encoding="utf-8")
    results = [result for result in record.load_results("aclImdb") if result["run_id"] in tracked]
    for row in tables.accuracy_table(in_table(results)).itertuples(index=False):
        assert f"| {' | '.join(row)} |" in readme
    linear = [result for result in record.load_results("aclImdb", "linear") if result["run_id"] in tracked]
    assert tables.accuracy_text(linear) in readme
    assert perplexity.pretrained_sentence(results) in readme
