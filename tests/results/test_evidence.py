"""Statistics against SciPy, statsmodels, textbook numbers and made-up grids whose truth is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from lab import record
from lab.config import Config
from lab.errors import LabError
from lab.results import evidence, plan
from lab.results.cells import REFERENCE, Cell, by_cell
from lab.results.plan import CLAIMS, Pair

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
        "data": {
            "fingerprint": f"made-up-{seed}",
            "vectors": {"name": f"glove.6B.{dim}d", "words": 7, "covered_tokens": 0.99},
        },
        "test": {"n": len(right), "accuracy": float(np.mean(right)), "right": record.pack_bits(right)},
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


def words(results):
    return dict(evidence.verdicts(results)[["claim", "verdict"]].itertuples(index=False))


LSTM_BETTER, SHALLOW, DEEP, DEEPER, WIDE_RNN, WIDE_LSTM = (claim.name for claim in CLAIMS)


# ------------------------------------------------------------------------------------------- single functions


def test_wilson_is_the_formula_of_the_paper():
    right, n, z = 21500, 25000, stats.norm.ppf(0.975)
    p = right / n
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    assert evidence.wilson(right, n) == pytest.approx((centre - half, centre + half), abs=1e-12)
    assert half == pytest.approx(1.96 * 0.0022, rel=0.01)  # the standard error the lab sheet names


@given(n=st.integers(1, 30_000), data=st.data(), level=st.sampled_from([0.9, 0.95, 0.99]))
def test_wilson_agrees_with_statsmodels(n, data, level):
    right = data.draw(st.integers(0, n))
    expected = proportion_confint(right, n, alpha=1 - level, method="wilson")
    assert evidence.wilson(right, n, level) == pytest.approx(expected, abs=1e-9)


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


def test_holm_agrees_with_statsmodels():
    for p_values in np.random.default_rng(0).random((5, 12)) ** 4:
        assert evidence.holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1], abs=1e-15)


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


def test_prediction_interval_covers_one_further_run_as_often_as_it_says():
    rng = np.random.default_rng(0)
    runs = rng.normal(0.8, 0.01, (4000, 6))
    inside = [low <= run[5] <= high for run in runs for low, high in [evidence.prediction(run[:5])]]
    assert 0.94 < np.mean(inside) < 0.96
    assert evidence.prediction([0.8]) is None


def test_gain_is_paired_by_seed():
    pairs = [({"test": {"accuracy": a}}, {"test": {"accuracy": b}}) for a, b in ((0.7, 0.72), (0.8, 0.84))]
    mean, half = evidence.gain(pairs)
    assert (mean, half) == pytest.approx((3, stats.t.ppf(0.975, 1) * np.std([2, 4], ddof=1) / math.sqrt(2)))


def test_claims_and_their_pairs():
    assert len(REFERENCE) == 16
    assert REFERENCE["RNN", 1, 1, 100] == 0.7722
    assert REFERENCE["LSTM", 2, 1, 100] == 0.8656
    assert REFERENCE["LSTM", 1, 2, 300] == 0.8662
    assert {claim.name: (len(claim.pairs), len(claim.main)) for claim in CLAIMS} == {
        LSTM_BETTER: (8, 4), SHALLOW: (6, 4), DEEP: (2, 2), DEEPER: (12, 12), WIDE_RNN: (2, 2), WIDE_LSTM: (2, 2),
    }  # fmt: skip
    for claim in CLAIMS:
        assert all(cell in REFERENCE for pair in claim.pairs for cell in pair)
        assert len(set(claim.pairs)) == len(claim.pairs)
        assert set(claim.main) <= set(claim.pairs)
    pairs = {claim.name: claim.pairs for claim in CLAIMS}
    assert (("LSTM", 5, 2, 100), ("RNN", 5, 2, 100)) in pairs[LSTM_BETTER]
    assert (("RNN", 2, 2, 100), ("RNN", 2, 1, 100)) in pairs[SHALLOW]
    assert (("LSTM", 5, 1, 100), ("LSTM", 5, 2, 100)) in pairs[DEEP]
    assert (("LSTM", 2, 1, 100), ("LSTM", 5, 1, 100)) in pairs[DEEPER]
    assert (("RNN", 1, 1, 100), ("RNN", 1, 1, 300)) in pairs[WIDE_RNN]
    assert (("LSTM", 1, 2, 300), ("LSTM", 1, 2, 100)) in pairs[WIDE_LSTM]


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


@pytest.mark.parametrize("rng_seed", range(3))
def test_shuffled_labels_prove_nothing(rng_seed):
    # Predictions of models that differ a great deal, marked against labels that have nothing to do with them.
    rng = np.random.default_rng(rng_seed)
    labels = rng.permutation(np.arange(N) % 2)
    results = []
    for cell in REFERENCE:
        for seed in SEEDS:
            predicted = np.where(rng.random(N) < as_claimed(cell), np.arange(N) % 2, 1 - np.arange(N) % 2)
            results.append(result(cell, seed, predicted == labels))
    assert set(words(results).values()) == {"证据不足"}


def test_false_claims_are_rare_when_only_seeds_differ():
    # All cells are alike but for the luck of the seed, which McNemar on one run takes for a difference.
    fooled = wrong = 0
    for at in range(20):
        results = grid(lambda cell: 0.8, noise=0.02, n=1000, rng_seed=at)
        one_run = evidence.comparisons([run for run in results if run["config"]["SEED"] == SEEDS[0]])
        fooled += (evidence.holm(one_run["p_reviews"]) < 0.05).any()
        wrong += (evidence.verdicts(results)["p_holm"] < 0.05).any()
    assert fooled >= 15
    assert wrong <= 3  # at a level of 5 %, more of 20 have a probability of 2 %


def test_noise_between_seeds_is_held_against_a_difference():
    # Each McNemar test is sure of two points on 25,000 reviews; seeds that differ by three points are not.
    quiet, noisy = (
        evidence.verdicts(grid(lambda cell: 0.8 + 0.02 * (cell.base == "LSTM"), n=25_000, noise=noise)).iloc[0]
        for noise in (0.001, 0.03)
    )
    assert (quiet["verdict"], noisy["verdict"]) == ("成立", "证据不足")
    assert noisy["visible"] > 0.02 > quiet["visible"]


def test_noise_of_the_reviews_is_held_against_a_difference():
    # The same small difference for every seed, on so few reviews that it may be theirs.
    rng = np.random.default_rng(3)
    right = rng.random(200) < 0.8
    better = right.copy()
    better[np.flatnonzero(~right)[:3]] = True
    cells = {cell: better if cell.base == "LSTM" else right for cell in REFERENCE}
    row = evidence.verdicts([result(cell, seed, marks) for cell, marks in cells.items() for seed in SEEDS]).iloc[0]
    assert row["sd"] == 0
    assert row["verdict"] == "证据不足"


def test_one_seed_may_not_disagree():
    pair = Pair(Cell("LSTM", 1, 1, 300), Cell("RNN", 1, 1, 300))
    marks = np.arange(N) < 0.8 * N, np.arange(N) < 0.6 * N
    results = []
    for seed in SEEDS:
        for cell, right in zip(pair, marks if seed != 2078 else marks[::-1], strict=True):
            results.append(result(cell, seed, right))
    rows = evidence.comparisons(results)
    row = rows[(rows["better"] == pair.better) & (rows["worse"] == pair.worse)].iloc[0]
    assert sorted(np.sign(row["differences"])) == [-1, 1, 1]
    assert row["p_reviews"] == 1
    assert row["outcome"] == "不显著"


def test_a_pair_by_hand():
    """The columns of one pair, recomputed with SciPy from the marks of its runs."""
    results = grid(as_claimed, noise=0.01, n=500)
    table, frame = by_cell(results), evidence.comparisons(results)
    own = frame[frame["claim"] == WIDE_LSTM]
    row = own.iloc[0]
    marks = {cell: [record.right(table[cell][seed]) for seed in SEEDS] for cell in (row["better"], row["worse"])}
    pairs = list(zip(*marks.values(), strict=True))
    assert row["seeds"] == SEEDS
    assert row["differences"] == pytest.approx([a.mean() - b.mean() for a, b in pairs])
    exact = [stats.binomtest(int((a & ~b).sum()), int((a != b).sum())).pvalue for a, b in pairs]
    assert len(set(np.sign(row["differences"]))) == 1
    assert row["p_reviews"] == pytest.approx(max(exact))
    paired = stats.ttest_rel(*([right.mean() for right in marks[cell]] for cell in (row["better"], row["worse"])))
    assert row["p_seeds"] == pytest.approx(paired.pvalue)
    assert (row["low"], row["high"]) == pytest.approx(tuple(paired.confidence_interval()))
    assert row["p"] == max(row["p_reviews"], row["p_seeds"])
    assert own["p_holm"].to_numpy() == pytest.approx(evidence.holm(own["p"]))


def test_a_claim_by_hand():
    results = grid(as_claimed, noise=0.01, n=500)
    table, row = by_cell(results), evidence.verdicts(results).set_index("claim").loc[SHALLOW]
    main = next(claim for claim in CLAIMS if claim.name == SHALLOW).main
    right = {cell: np.array([record.right(table[cell][seed]) for seed in SEEDS], dtype=float) for cell in table}
    differences = np.mean([right[pair.better] - right[pair.worse] for pair in main], axis=0)  # (seeds, reviews)
    seeds, reviews = stats.ttest_1samp(differences.mean(1), 0), stats.ttest_1samp(differences.mean(0), 0)
    assert row["difference"] == pytest.approx(differences.mean())
    assert row["p"] == pytest.approx(max(seeds.pvalue, reviews.pvalue))
    assert (row["low"], row["high"]) == pytest.approx(tuple(seeds.confidence_interval()))
    assert row["sd"] == pytest.approx(np.std(differences.mean(1), ddof=1))
    assert (row["main"], row["n_seeds"]) == (4, 3)


@pytest.mark.parametrize(("n", "claims"), [(3, 1), (5, 4), (10, 6)])
def test_smallest_difference_is_found_as_often_as_it_says(n, claims):
    effect = plan.smallest_difference(0.01, n, claims)
    drawn = np.random.default_rng(1).normal(effect, 0.01, (20_000, n))
    found = stats.ttest_1samp(drawn, 0, axis=1).pvalue < plan.ALPHA / claims
    assert found.mean() == pytest.approx(plan.POWER, abs=0.01)
    assert np.isnan(plan.smallest_difference(0.01, 1))


def test_missing_cells_are_said_to_be_missing():
    assert set(words([]).values()) == {"未运行"}
    shallow = [cell for cell in REFERENCE if cell.layers < 5]
    table = evidence.verdicts(grid(as_claimed, cells=shallow, noise=0.002)).set_index("claim")
    assert table.loc[DEEP, "verdict"] == "未运行"
    assert table.loc[LSTM_BETTER, ["verdict", "main"]].tolist() == ["成立", 4]
    assert table.loc[DEEPER, ["verdict", "main"]].tolist() == ["成立", 4]  # the pairs of 1 and 2 layers


def test_one_seed_decides_nothing():
    results = grid(as_claimed, seeds=(2077,))
    assert set(words(results).values()) == {"证据不足"}
    assert set(evidence.comparisons(results)["outcome"]) == {"单个种子"}


def test_seeds_that_all_pairs_share_are_tested():
    seeds = {1: SEEDS, 2: SEEDS, 5: SEEDS[:2]}
    table = evidence.verdicts(grid(as_claimed, seeds=lambda cell: seeds[cell.layers], noise=0.002)).set_index("claim")
    assert table.loc[[SHALLOW, DEEP, DEEPER], "n_seeds"].tolist() == [3, 2, 2]


def test_a_counterexample_refutes_and_is_named():
    odd = Cell("RNN", 1, 1, 300)
    seeds = tuple(range(2077, 2087))
    results = grid(lambda cell: 0.95 if cell == odd else as_claimed(cell), seeds=seeds, noise=0.002)
    row = evidence.verdicts(results).set_index("claim").loc[LSTM_BETTER]
    assert (row["verdict"], row["against"]) == ("不成立", 1)
    assert row["counterexamples"]["worse"].tolist() == [odd]


def test_other_vectors_and_other_data_are_not_compared():
    results = grid(as_claimed, noise=0.002)
    for run in results:
        if run["config"]["EMBEDDING_DIM"] == 300:
            run["data"]["vectors"]["covered_tokens"] = 0.85
    table = evidence.verdicts(results).set_index("claim")
    assert table.loc[[WIDE_RNN, WIDE_LSTM], "verdict"].tolist() == ["不可比"] * 2
    assert table.loc[LSTM_BETTER, "verdict"] == "成立"  # within 300 dimensions they are alike
    for run in results:
        if run["config"]["EMBEDDING_DIM"] == 300:
            run["data"] = {**run["data"], "fingerprint": "else"}
    assert words(results)[WIDE_RNN] == "不可比"


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


@pytest.mark.parametrize(("p", "text"), [(0.0, "p<0.001"), (0.04321, "p=0.043"), (1.0, "p=1.000")])
def test_p_text(p, text):
    assert evidence.p_text(p) == text
