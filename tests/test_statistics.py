"""Statistics against SciPy, statsmodels, textbook numbers and made-up grids whose truth is known."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar

from lab import record
from lab.config import Config
from lab.errors import LabError
from lab.results import evidence
from lab.results.cells import REFERENCE, Cell, by_cell
from lab.results.evidence import HYPOTHESES

N = 4000  # test reviews of the made-up grids
SEEDS = (2077, 2078, 2079)
BITS = st.lists(st.booleans(), min_size=1, max_size=200)


def result(cell, seed, right, **changes):
    """A result file as far as the statistics read it."""
    base, layers, directions, dim = cell
    config = Config(
        MODEL_BASE=base,
        N_LAYERS=layers,
        BIDIRECTIONAL=directions == 2,
        EMBEDDING_DIM=dim,
        SEED=seed,
        **changes,
    )
    return {
        "kind": "classifier",
        "run_id": config.run_id,
        "config": config.as_dict(),
        "data": {"fingerprint": f"made-up-{seed}"},
        "test": {"n": len(right), "right": record.encode_bits(right)},
    }


def grid(accuracy, seeds=SEEDS, cells=tuple(REFERENCE), noise=0.0, n=N, rng_seed=0):
    """Results of made-up models that are right on a review with probability ``accuracy(cell)``.

    All models share the difficulty of the reviews, as real ones do. ``noise`` is the standard deviation of the
    accuracy between seeds.
    """
    rng = np.random.default_rng(rng_seed)
    difficulty = rng.random(n)
    made = []
    for cell in cells:
        for seed in seeds(cell) if callable(seeds) else seeds:
            own = 0.8 * difficulty + 0.2 * rng.random(n)  # close to uniform, strongly shared
            made.append(
                result(cell, seed, own < np.quantile(own, np.clip(accuracy(cell) + noise * rng.normal(), 0, 1)))
            )
    return made


def words(results, settings=None):
    return dict(evidence.verdicts(results, settings)[["hypothesis", "verdict"]].itertuples(index=False))


LSTM_BETTER, SHALLOW, DEEP, DEEPER, WIDE_RNN, WIDE_LSTM = (hypothesis.name for hypothesis in HYPOTHESES)


# ------------------------------------------------------------------------------------------- single functions


def test_wilson_is_the_formula_of_the_paper():
    right, n, z = 21500, 25000, stats.norm.ppf(0.975)
    p = right / n
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    assert evidence.wilson(right, n) == pytest.approx((centre - half, centre + half), abs=1e-12)
    assert half == pytest.approx(1.96 * 0.0022, rel=0.01)  # the standard error the lab sheet names


@given(n=st.integers(1, 30_000), data=st.data(), level=st.sampled_from([0.9, 0.95, 0.99]))
def test_wilson_agrees_with_scipy(n, data, level):
    right = data.draw(st.integers(0, n))
    expected = stats.binomtest(right, n).proportion_ci(level, method="wilson")
    assert evidence.wilson(right, n, level) == pytest.approx((expected.low, expected.high), abs=1e-9)


@given(BITS)
def test_pack_and_unpack_are_inverse(bits):
    stored = json.loads(json.dumps({"test": {"n": len(bits), "right": record.encode_bits(bits)}}))
    assert evidence.unpack(stored).tolist() == bits
    assert evidence.unpack(stored).dtype == bool


def test_pack_is_readable_by_hand():
    assert record.encode_bits([False, True, False, False, False, False, False, True]) == "QQ=="  # 0x41


@pytest.mark.parametrize("n", [0, 8, 17])
def test_unpack_refuses_another_number_of_reviews(n):
    with pytest.raises(LabError, match=r"lstm-x.*请删除"):
        evidence.unpack({"run_id": "lstm-x", "test": {"n": n, "right": record.encode_bits([True] * 9)}})


def test_mcnemar_worked_by_hand():
    # 12 discordant reviews, 2 against 10: p = 2 (C(12,0) + C(12,1) + C(12,2)) / 2**12 = 158 / 4096.
    a = [True] * 10 + [False] * 2 + [True] * 6 + [False] * 2
    b = [False] * 10 + [True] * 2 + [True] * 6 + [False] * 2
    assert evidence.mcnemar(a, b) == pytest.approx((2, 10, 0.4, 158 / 4096))


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=300))
def test_mcnemar_agrees_with_statsmodels_and_is_antisymmetric(marks):
    a, b = np.array(marks).T
    found, reverse = evidence.mcnemar(a, b), evidence.mcnemar(b, a)
    table = [[(a & b).sum(), (a & ~b).sum()], [(~a & b).sum(), (~a & ~b).sum()]]
    if found.n01 + found.n10:
        assert found.p == pytest.approx(statsmodels_mcnemar(table, exact=True).pvalue, abs=1e-12)
    assert found.difference == pytest.approx(a.mean() - b.mean(), abs=1e-12)
    assert (reverse.n01, reverse.n10, reverse.difference, reverse.p) == pytest.approx(
        (found.n10, found.n01, -found.difference, found.p)
    )


def test_mcnemar_of_identical_predictions_is_one():
    assert evidence.mcnemar([True, False, True], [True, False, True]) == (0, 0, 0.0, 1.0)


@pytest.mark.parametrize(("a", "b"), [([True], [True, False]), ([], [])])
def test_mcnemar_refuses_what_is_not_paired(a, b):
    with pytest.raises(LabError, match="配对"):
        evidence.mcnemar(a, b)


def test_holm_worked_by_hand():
    # sorted 0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1, then never below the one before
    assert evidence.holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])


@settings(max_examples=10, deadline=None)  # statsmodels collects garbage on every call
# Earlier tests may have trained in this process, which then knows no subnormal numbers.
@given(st.lists(st.floats(0, 1, allow_subnormal=False), max_size=30))
def test_holm_is_its_definition_and_passes_over_missing_ones(p_values):
    expected, running = {}, 0.0
    for rank, place in enumerate(np.argsort(p_values, kind="stable")):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[place]))
        expected[place] = running
    assert evidence.holm(p_values) == pytest.approx([expected[at] for at in range(len(p_values))])
    with_missing = evidence.holm([np.nan, *p_values, np.nan])
    assert with_missing[1:-1] == pytest.approx(evidence.holm(p_values))
    assert np.isnan(with_missing[[0, -1]]).all()


def test_summary():
    assert evidence.summary([0.5]) == (1, 0.5, None)
    assert evidence.summary([0.84, 0.85, 0.86]) == pytest.approx((3, 0.85, 0.01))
    with pytest.raises(LabError, match="还没有运行"):
        evidence.summary([])


def test_reference_inside():
    assert evidence.reference_inside(0.85, *evidence.wilson(21250, 25000))
    assert not evidence.reference_inside(0.86, *evidence.wilson(21250, 25000))
    assert evidence.reference_inside(0.8, 0.8, 0.9)
    assert evidence.reference_inside(0.9, 0.8, 0.9)


def test_reference_table_and_hypotheses():
    assert len(REFERENCE) == 16
    assert REFERENCE["RNN", 1, 1, 100] == 0.7722
    assert REFERENCE["LSTM", 2, 1, 100] == 0.8656
    assert REFERENCE["LSTM", 1, 2, 300] == 0.8662
    assert {name: len(pairs) for name, pairs in HYPOTHESES} == {
        LSTM_BETTER: 8, SHALLOW: 6, DEEP: 2, DEEPER: 12, WIDE_RNN: 2, WIDE_LSTM: 2,
    }  # fmt: skip
    for _, pairs in HYPOTHESES:
        assert all(cell in REFERENCE for pair in pairs for cell in pair)
        assert len(set(pairs)) == len(pairs)
    claims = dict(HYPOTHESES)
    assert (("LSTM", 5, 2, 100), ("RNN", 5, 2, 100)) in claims[LSTM_BETTER]
    assert (("RNN", 2, 2, 100), ("RNN", 2, 1, 100)) in claims[SHALLOW]
    assert (("LSTM", 5, 1, 100), ("LSTM", 5, 2, 100)) in claims[DEEP]
    assert (("LSTM", 2, 1, 100), ("LSTM", 5, 1, 100)) in claims[DEEPER]
    assert (("RNN", 1, 1, 100), ("RNN", 1, 1, 300)) in claims[WIDE_RNN]
    assert (("LSTM", 1, 2, 300), ("LSTM", 1, 2, 100)) in claims[WIDE_LSTM]


# -------------------------------------------------------------------------------------------------- verdicts


def as_claimed(cell, step=0.04):
    """An accuracy with which every conclusion of the reference is true."""
    two = -1 if cell.layers == 5 else 1
    wide = (1 if cell.base == "LSTM" else -1) * (cell.dim == 300)
    return 0.6 + step * (4 * (cell.base == "LSTM") + two * (cell.directions - 1) + wide - math.log2(cell.layers))


def test_clear_differences_hold_and_their_opposites_do_not():
    assert set(words(grid(as_claimed, noise=0.002)).values()) == {"成立"}
    assert set(words(grid(lambda cell: 1.2 - as_claimed(cell), noise=0.002)).values()) == {"不成立"}


def test_identical_predictions_prove_nothing():
    right = np.random.default_rng(1).random(N) < 0.8
    results = [result(cell, seed, right) for cell in REFERENCE for seed in SEEDS]
    assert set(words(results).values()) == {"证据不足"}
    assert (evidence.comparisons(results)["p"] == 1).all()


@pytest.mark.parametrize("seeds", [SEEDS, (2077,)])
@pytest.mark.parametrize("rng_seed", range(3))
def test_shuffled_labels_prove_nothing(seeds, rng_seed):
    # Predictions of models that differ a great deal, marked against labels that have nothing to do with them.
    rng = np.random.default_rng(rng_seed)
    labels = rng.permutation(np.arange(N) % 2)
    results = []
    for cell in REFERENCE:
        for seed in seeds:
            predicted = np.where(rng.random(N) < as_claimed(cell), np.arange(N) % 2, 1 - np.arange(N) % 2)
            results.append(result(cell, seed, predicted == labels))
    assert set(words(results).values()) == {"证据不足"}


def test_false_claims_are_rare_when_only_seeds_differ():
    # All cells are alike but for the luck of the seed, which McNemar on one run takes for a difference.
    fooled = wrong = 0
    for at in range(12):
        results = grid(lambda cell: 0.8, noise=0.02, n=1000, rng_seed=at)
        one_run = [run for run in results if run["config"]["SEED"] == SEEDS[0]]
        fooled += evidence.comparisons(one_run)["outcome"].isin(["支持", "相反"]).any()
        wrong += evidence.comparisons(results)["outcome"].isin(["支持", "相反"]).any()
    assert fooled >= 10
    assert wrong <= 2  # at a level of 5 %, more of 12 have a probability of 2 %


def test_one_seed_may_not_disagree():
    results = grid(as_claimed)
    cell, other = Cell("LSTM", 1, 1, 300), Cell("RNN", 1, 1, 300)
    swapped = [
        result(other if made == cell else cell, 2078, evidence.unpack(run))
        for run in results
        for made in [Cell(run["config"]["MODEL_BASE"], 1, 1, 300)]
        if run["config"]["SEED"] == 2078 and run["run_id"] == result(made, 2078, [True])["run_id"]
    ]
    assert len(swapped) == 2
    names = {run["run_id"] for run in swapped}
    rows = evidence.comparisons([run for run in results if run["run_id"] not in names] + swapped)
    row = rows[(rows["better"] == cell) & (rows["worse"] == other)].iloc[0]
    assert sorted(np.sign(row["differences"])) == [-1, 1, 1]
    assert row["p_reviews"] == 1
    assert row["outcome"] == "不显著"


def test_noise_between_seeds_is_held_against_a_difference():
    # Each McNemar test is sure of two points on 25,000 reviews; seeds that differ by three points are not.
    quiet, noisy = (
        evidence.comparisons(grid(lambda cell: 0.8 + 0.02 * (cell.base == "LSTM"), n=25_000, noise=noise))
        for noise in (0.001, 0.03)
    )
    assert (quiet.loc[quiet["hypothesis"] == LSTM_BETTER, "outcome"] == "支持").all()
    assert not (noisy.loc[noisy["hypothesis"] == LSTM_BETTER, "outcome"] == "支持").all()
    assert noisy["sd"].max() > quiet["sd"].max()
    held_back = (noisy["outcome"] == "不显著") & (evidence.holm(noisy["p_reviews"]) < 0.05)
    assert held_back.any()
    assert (noisy["seeds_only"] == held_back).all()
    assert not quiet.loc[quiet["hypothesis"] == LSTM_BETTER, "seeds_only"].any()


def test_comparison_by_hand():
    """The columns of one pair, recomputed with SciPy from the marks of its runs."""
    results = grid(as_claimed, noise=0.01, n=500)
    table = by_cell(results)
    frame = evidence.comparisons(results)
    row = frame[(frame["hypothesis"] == WIDE_LSTM)].iloc[0]
    marks = {c: [evidence.unpack(table[c][seed]) for seed in SEEDS] for c in (row["better"], row["worse"])}
    pairs = list(zip(*marks.values(), strict=True))
    assert row["seeds"] == SEEDS
    assert row["differences"] == pytest.approx([a.mean() - b.mean() for a, b in pairs])
    assert row["difference"] == pytest.approx(np.mean(row["differences"]))
    assert row["sd"] == pytest.approx(np.std(row["differences"], ddof=1))
    exact = [stats.binomtest(int((a & ~b).sum()), int((a != b).sum())).pvalue for a, b in pairs]
    assert len(set(np.sign(row["differences"]))) == 1
    assert row["p_reviews"] == pytest.approx(max(exact))
    # Pooled noise is the residual mean square of a one-way analysis of variance of the cells of the base.
    groups = [
        [evidence.unpack(run).mean() for run in runs.values()] for cell, runs in table.items() if cell.base == "LSTM"
    ]
    within = sum(((np.array(group) - np.mean(group)) ** 2).sum() for group in groups) / (8 * 2)
    t = row["difference"] / math.sqrt(2 * within / 3)
    assert row["p_seeds"] == pytest.approx(2 * stats.t.sf(abs(t), 16))
    assert row["p"] == max(row["p_reviews"], row["p_seeds"])
    assert frame["p_holm"].to_numpy() == pytest.approx(evidence.holm(frame["p"]))


def test_noise_of_two_bases_is_combined_as_in_welch():
    # With all cells of a base but one left out, pooling has nothing to pool: it is Welch's test, SciPy's own.
    rng = np.random.default_rng(5)
    marks = {
        base: [rng.random(1000) < mean + 0.02 * rng.normal() for _ in SEEDS]
        for base, mean in (("LSTM", 0.9), ("RNN", 0.7))
    }
    results = [
        result((base, 1, 1, 100), seed, right)
        for base, rows in marks.items()
        for seed, right in zip(SEEDS, rows, strict=True)
    ]
    frame = evidence.comparisons(results)
    row = frame[frame["outcome"] != "未运行"].iloc[0]
    expected = stats.ttest_ind(
        [right.mean() for right in marks["LSTM"]], [right.mean() for right in marks["RNN"]], equal_var=False
    )
    assert row["p_seeds"] == pytest.approx(expected.pvalue)


def test_missing_cells_are_said_to_be_missing():
    assert set(words([]).values()) == {"未运行"}
    shallow = [cell for cell in REFERENCE if cell.layers < 5]
    table = evidence.verdicts(grid(as_claimed, cells=shallow)).set_index("hypothesis")
    assert table.loc[DEEP, "verdict"] == "未运行"
    assert "未运行" in table.loc[DEEP, "sentence"]
    assert table.loc[LSTM_BETTER, ["verdict", "support", "missing"]].tolist() == ["成立", 6, 2]
    # 4 of 12 pairs are there and all support it: not the greater part of what the conclusion says
    assert table.loc[DEEPER, ["verdict", "support", "missing"]].tolist() == ["证据不足", 4, 8]


def test_one_seed_is_named():
    table = evidence.verdicts(grid(as_claimed, seeds=(2077,))).set_index("hypothesis")
    assert table.loc[LSTM_BETTER, "single"] == 8
    assert "8对只有一个种子" in table.loc[LSTM_BETTER, "sentence"]
    assert "估计不出种子之间的波动" in table.loc[LSTM_BETTER, "sentence"]
    # deep cells with one seed borrow the noise of the others
    table = evidence.verdicts(
        grid(as_claimed, seeds=lambda cell: SEEDS[:1] if cell.layers == 5 else SEEDS, noise=0.002)
    ).set_index("hypothesis")
    assert table.loc[DEEP, ["verdict", "single"]].tolist() == ["成立", 2]
    assert "估计不出" not in table.loc[DEEP, "sentence"]


def test_a_counterexample_refutes_and_is_named():
    odd = Cell("RNN", 1, 1, 300)
    table = evidence.verdicts(grid(lambda cell: 0.95 if cell == odd else as_claimed(cell), noise=0.002)).set_index(
        "hypothesis"
    )
    assert table.loc[LSTM_BETTER, ["verdict", "support", "against"]].tolist() == ["不成立", 7, 1]
    sentence = table.loc[LSTM_BETTER, "sentence"]
    assert "相反的是：LSTM 1-1（300维）对RNN 1-1（300维）-" in sentence
    assert "支持的是：LSTM 1-1（100维）对RNN 1-1（100维）+" in sentence


def test_numbers_of_the_sentence_are_those_of_the_table():
    table = evidence.verdicts(grid(as_claimed, noise=0.002))
    for row in table.itertuples():
        assert row.hypothesis in row.sentence
        assert f"{row.verdict}。{row.pairs}对比较" in row.sentence
        assert f"{100 * row.low:+.2f}" in row.sentence
        assert f"{100 * row.high:+.2f}" in row.sentence
        assert f"标准差至多{100 * row.sd:.2f}" in row.sentence
        assert "nan" not in row.sentence


def test_only_the_runs_of_the_table_count():
    cell = Cell("LSTM", 1, 1, 100)
    right = np.ones(16, dtype=bool)
    others = [
        result(cell, 2077, right, VECTORS="random"),
        result(cell, 2077, right, GRAD_CLIP=1.0),
        result((*cell[:3], 50), 2077, right),
        {"kind": "linear", "run_id": "tfidf-logreg-s2077", "config": {"SEED": 2077}},
        {"dataset": "aclImdb"},
    ]
    assert not any(by_cell(others).values())
    mine = result(cell, 2078, right)
    assert by_cell([*others, mine])[cell] == {2078: mine}
    assert by_cell(others, Config(GRAD_CLIP=1.0))[cell] == {2077: others[1]}


def test_runs_on_other_data_are_not_compared():
    one = result(("LSTM", 1, 1, 100), 2077, [True] * 8)
    with pytest.raises(LabError, match="8、9篇"):
        evidence.comparisons([one, result(("RNN", 1, 1, 100), 2077, [True] * 9)])
    other = result(("RNN", 1, 1, 100), 2077, [True] * 8) | {"data": {"fingerprint": "else"}}
    with pytest.raises(LabError, match="rnn-1x1-100d-s2077和lstm-1x1-100d-s2077"):
        evidence.comparisons([other, one])


@pytest.mark.parametrize(("p", "text"), [(0.0, "p<0.001"), (0.04321, "p=0.043"), (1.0, "p=1.000")])
def test_p_text(p, text):
    assert evidence.p_text(p) == text
