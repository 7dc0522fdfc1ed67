"""The theory's experiments against autograd, SciPy and plain facts; their notebook run for real on a tiny corpus."""

import json

import matplotlib.pyplot as plt
import numpy as np
import papermill
import pytest
import torch
import torch.nn.functional as F
from scipy.integrate import solve_ivp

from lab import files
from lab.data.reviews import Reviews
from lab.errors import LabError
from lab.model import bptt, experiments
from lab.results import principles

NOTEBOOK = files.PROJECT / "notebooks" / "02_model.ipynb"
FILES = {
    "gradients": ("gradients", "shares"),
    "remedies": ("remedies",),
    "distance": ("distance",),
    "dynamics": ("dynamics",),
    "cell": ("cell",),
}
TINY = dict(LENGTH=8, TRAIN_STEPS=3, MAX_DISTANCE=10, TASK_STEPS=3, MAX_UNITS=2, SYSTEM_STEPS=3, REPEATS=2)
TINY |= dict(EMBEDDING_DIM=50, HIDDEN_DIM=6)


@pytest.mark.parametrize("kind", principles.NAMES)
def test_followed_gradient_is_the_layers_own(kind):
    rnn, head = experiments.layer(kind, 5, 4, seed=1, forget_bias=2)
    x, labels = torch.randn(12, 3, 5), torch.tensor([1.0, 0.0, 1.0])
    loss = F.binary_cross_entropy_with_logits(head(rnn(x)[0][-1])[:, 0], labels, reduction="sum")
    dU, dW, db = torch.autograd.grad(loss, [rnn.weight_hh_l0, rnn.weight_ih_l0, rnn.bias_ih_l0])
    found = experiments.follow(rnn, head, x, labels)
    for ours, theirs in zip(
        bptt.weight_gradients(found["delta"], found["states"], x.double()), (dU, dW, db), strict=True
    ):
        torch.testing.assert_close(ours.float(), theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", principles.NAMES)
def test_measure_is_relative_and_below_the_bound(kind):
    rnn, head = experiments.layer(kind, 5, 4, seed=1, forget_bias=2)
    found = experiments.measure(rnn, head, torch.randn(12, 3, 5), torch.ones(3))
    assert len(found["norms"]) == len(found["beyond"]) == 12
    assert found["norms"][0] == 1
    assert all(np.diff(found["beyond"]) <= 1e-12)
    assert found["beyond"][-1] == pytest.approx(0, abs=1e-12)
    assert found.get("closest", 1) <= 1
    if kind == "orthogonal":
        assert found["eta"] == pytest.approx(1, abs=1e-5)


def test_an_open_gate_keeps_what_a_plain_rnn_forgets():
    x, labels = torch.randn(60, 8, 16), torch.ones(8)
    left = {
        kind: experiments.measure(*experiments.layer(kind, 16, 32, 0, 4), x, labels)["norms"][-1]
        for kind in principles.NAMES
    }
    assert left["sigmoid"] < left["tanh"] < left["orthogonal"]
    assert left["tanh"] < 1e-6 < 1e-3 < left["open"]


def test_windows_end_where_the_reviews_end():
    offsets = np.array([0, 3, 8, 12, 20, 26])
    tokens, zeros = np.arange(26, dtype=np.int32), np.zeros(5)
    reviews = Reviews(tokens, offsets, np.array([0, 1, 0, 1, 0], dtype=np.uint8), zeros, zeros, zeros)
    found, labels = experiments.windows(reviews, 4, 10, seed=0)
    assert found.shape == (4, 4)  # the first review has three tokens
    ends = {7: 1, 11: 0, 19: 1, 25: 0}
    assert {int(column[-1]): int(label) for column, label in zip(found.T, labels, strict=True)} == ends
    assert (found.diff(dim=0) == 1).all()
    with pytest.raises(LabError, match="参数LENGTH的值7不可用：只有1篇"):
        experiments.windows(reviews, 7, 10, seed=0)


def test_the_answer_stands_in_the_first_token_only():
    x, labels = experiments.first_token(6, 50, torch.Generator().manual_seed(0))
    assert x.shape == (7, 50, experiments.SYMBOLS)
    tokens = x.argmax(-1)
    assert (tokens[0] == labels).all()
    assert 0 < labels.sum() < 50
    assert (tokens[1:] > 1).all()
    assert experiments.remember("tanh", 3, 200, seed=0) > 0.95


def test_van_der_pol_equals_one_tight_integration():
    forces, states = experiments.van_der_pol(3, 12, seed=5)
    assert forces.shape == (15, 3, 1)  # whole holds
    assert (forces[:5] == forces[0]).all()
    u, times = forces[:, 1, 0].double().numpy(), experiments.TIME_STEP * np.arange(1, 16)

    def change(time, state):
        held = u[min(int(time / experiments.TIME_STEP / experiments.HOLD + 1e-9) * experiments.HOLD, 14)]
        return [state[1], (1 - state[0] ** 2) * state[1] - state[0] + held]

    tight = solve_ivp(change, (0, 3), [1, 0], t_eval=times, method="DOP853", rtol=1e-9, max_step=0.01)
    np.testing.assert_allclose(states[:, 1].numpy(), tight.y.T, atol=2e-3)


def test_a_network_learns_the_system():
    forces, states = experiments.van_der_pol(64, 20, seed=0)
    errors = [
        (experiments.imitate(8, forces, states, steps, 2, seed=0)(forces) - states).pow(2).mean((1, 2, 3))
        for steps in (2, 150)
    ]
    assert errors[0].shape == (2,)
    assert (errors[1] < 0.1 * states.var()).all()
    assert (errors[1] < errors[0] / 2).all()


def test_kept_data_is_rounded_and_of_real_reviews_only(home):
    assert principles.load("nothing") is None
    experiments.save("sample", "trial", dict(a=1.0))
    assert principles.load("trial") is None
    experiments.save("aclImdb", "trial", dict(a=1 / 3, b=[1e-30 / 3, 7], c="字"))
    assert principles.load("trial") == dict(a=0.3333, b=[3.333e-31, 7], c="字")


@pytest.mark.parametrize("name", FILES)
def test_the_report_draws_from_the_tracked_data(name):
    data = principles.load(name)
    for picture in FILES[name]:
        fig = getattr(principles, f"draw_{picture}")(data)
        assert fig.axes
        plt.close(fig)
        sentence = getattr(principles, f"say_{picture}")(data)
        assert "\n" not in sentence
        assert not any(wrong in sentence for wrong in ("nan", "None", "inf"))


def test_notebook_runs_and_writes_what_the_report_draws(corpus, tmp_path):
    out = papermill.execute_notebook(
        NOTEBOOK, tmp_path / "out.ipynb", TINY | dict(MODEL_BASE="lstm", BIDIRECTIONAL=True, N_LAYERS=2), cwd=tmp_path,
        kernel_name="python3", progress_bar=False,
    )  # fmt: skip
    text = json.dumps(out, ensure_ascii=False)
    assert "差别只是单精度的舍入误差" in text
    assert "没有一处越过上界" in text
    written = files.home() / "report" / "results" / "theory"
    assert {path.stem for path in written.iterdir()} == {*FILES, "checks"}
    checks = files.read_json(written / "checks.json")
    assert max(checks[name] for name in ("states", "bptt", "lstm")) < 1e-12
    assert checks["bound"] <= 1
    assert len(files.read_json(written / "gradients.json")["networks"]["tanh"]["before"]["norms"]) == 8


def test_notebook_refuses_its_own_misspelt_parameter_in_one_line(corpus, tmp_path):
    with pytest.raises(papermill.PapermillExecutionError) as caught:
        papermill.execute_notebook(
            NOTEBOOK,
            tmp_path / "out.ipynb",
            dict(FORGET_BIASS=3),
            cwd=tmp_path,
            kernel_name="python3",
            progress_bar=False,
        )
    last = [line for line in str(caught.value).splitlines() if line.strip()][-1]
    assert last.startswith("错误：没有名为FORGET_BIASS的参数。是不是想写FORGET_BIAS？")
