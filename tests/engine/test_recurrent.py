"""The recurrence against packed torch.nn: outputs, states and gradients."""

import subprocess
import sys
from unittest import mock

import numba
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lab.engine import kernels, recurrent

pytestmark = pytest.mark.usefixtures("two_threads")

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA")),
]


def make(base, inputs, hidden, layers, directions, dtype=torch.float64, **more):
    """An ``nn.RNN`` or ``nn.LSTM``; base: "tanh", "relu" or "lstm"."""
    more = {"num_layers": layers, "bidirectional": directions == 2, "dtype": dtype, **more}
    return nn.LSTM(inputs, hidden, **more) if base == "lstm" else nn.RNN(inputs, hidden, nonlinearity=base, **more)


def everything(function, rnn, x, lengths, state):
    """Outputs, final states, and the gradients of a fixed random function of them all."""
    leaves = [x, *state, *rnn.parameters()]
    for leaf in leaves:
        leaf.requires_grad_(True)
    given_state = (tuple(state) if len(state) == 2 else state[0]) if state else None
    y, final = function(rnn, x, lengths, given_state)
    results = [y, *(final if isinstance(final, tuple) else (final,))]
    weights = torch.Generator().manual_seed(7)
    loss = sum((r * torch.randn(r.shape, generator=weights, dtype=torch.float64).to(r)).sum() for r in results)
    return results, torch.autograd.grad(loss, leaves)


def assert_same(rnn, x, lengths, state, tolerance):
    ours, our_gradients = everything(recurrent.run, rnn, x, lengths, state)
    theirs, their_gradients = everything(recurrent.packed, rnn, x, lengths, state)
    for mine, other in zip([*ours, *our_gradients], [*theirs, *their_gradients], strict=True):
        torch.testing.assert_close(mine, other, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("device", DEVICES)
@settings(max_examples=80, deadline=None)
@given(
    base=st.sampled_from(["tanh", "relu", "lstm"]),
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=8),
    extra=st.integers(0, 3),
    layers=st.integers(1, 3),
    directions=st.integers(1, 2),
    sizes=st.tuples(st.integers(1, 6), st.integers(1, 5)),
    bias=st.booleans(),
    with_state=st.booleans(),
    strip=st.sampled_from([2, 32]),
    chunk=st.sampled_from([1, 7, 1024]),
    seed=st.integers(0, 99),
)
def test_equals_packed(device, base, lengths, extra, layers, directions, sizes, bias, with_state, strip, chunk, seed):
    torch.manual_seed(seed)
    rnn = make(base, *sizes, layers, directions, bias=bias)
    x = torch.randn(max(lengths) + extra, len(lengths), sizes[0], dtype=torch.float64)
    kinds = (2 if base == "lstm" else 1) * with_state
    state = [
        torch.randn(layers * directions, len(lengths), sizes[1], dtype=torch.float64).to(device) for _ in range(kinds)
    ]
    with mock.patch.multiple(recurrent, STRIP=strip, CHUNK=chunk):
        assert_same(rnn.to(device), x.to(device), torch.tensor(lengths), state, 1e-9)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("base", ["tanh", "lstm"])
def test_long_reviews_in_single_precision(device, base):
    torch.manual_seed(1)
    rnn = make(base, 20, 16, 1, 2, torch.float32).to(device)
    lengths = torch.tensor([500, 1, 499, 500, 250])
    x = torch.randn(500, 5, 20, device=device)
    # The scale of the sums over 500 steps, not each entry, is what single precision is measured by.
    ours, theirs = (everything(f, rnn, x, lengths, []) for f in (recurrent.run, recurrent.packed))
    for mine, other in zip([*ours[0], *ours[1]], [*theirs[0], *theirs[1]], strict=True):
        scale = max(1.0, other.abs().max().item())
        torch.testing.assert_close(mine / scale, other / scale, rtol=0, atol=1e-4)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("base", ["tanh", "relu", "lstm"])
@pytest.mark.parametrize("filling", [float("nan"), float("inf"), 1e30])
def test_padding_changes_nothing(device, base, filling):
    torch.manual_seed(2)
    rnn = make(base, 4, 3, 2, 2).to(device)
    lengths = torch.tensor([3, 9, 1, 9, 5])
    x = torch.randn(11, 5, 4, dtype=torch.float64, device=device)
    padding = torch.arange(11)[:, None] >= lengths
    clean, gradients = everything(recurrent.run, rnn, x, lengths, [])
    dirty_x = x.detach().clone()
    dirty_x[padding.to(device)] = filling
    dirty, dirty_gradients = everything(recurrent.run, rnn, dirty_x, lengths, [])
    for a, b in zip([*clean, *gradients], [*dirty, *dirty_gradients], strict=True):
        assert torch.equal(a, b)
    assert not clean[0][padding.to(device)].any()
    assert not gradients[0][padding.to(device)].any()


@pytest.mark.parametrize("base", ["tanh", "relu", "lstm"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_not_a_number_stays_that(base, dtype):
    rnn, x, lengths = make(base, 4, 3, 1, 1, dtype), torch.zeros(6, 3, 4, dtype=dtype), torch.tensor([6, 4, 5])
    x[2, 1, 0] = float("nan")
    outputs, state = recurrent.run(rnn, x, lengths)
    final = state[0] if base == "lstm" else state
    assert outputs[2:4, 1].isnan().all()
    assert final[0].isnan().any(1).tolist() == [False, True, False]


def test_tanh_in_single_precision():
    @numba.njit
    def tanh(x, y):
        for j in range(len(x)):
            y[j] = kernels.tanh(x[j])

    x = np.concatenate([np.linspace(-20, 20, 1_000_001), [0, 1e-30, -1e30, np.inf]]).astype(np.float32)
    y = np.empty_like(x)
    tanh(x, y)
    assert np.abs(y).max() <= 1
    assert np.abs(y - np.tanh(x.astype(np.float64))).max() < 4e-7
    small = np.abs(x) < 0.5
    np.testing.assert_allclose(y[small], np.tanh(x[small].astype(np.float64)), rtol=3e-7)


@pytest.mark.parametrize("base", ["tanh", "lstm"])
def test_inference_mode_on_all_threads(base):
    rnn, x, lengths = make(base, 4, 3, 1, 1), torch.randn(5, 3, 4, dtype=torch.float64), torch.tensor([5, 4, 5])
    expected = recurrent.packed(rnn, x, lengths)[0]
    with mock.patch.object(recurrent, "STRIP", 1), torch.inference_mode():
        torch.testing.assert_close(recurrent.run(rnn, x, lengths)[0], expected)


@pytest.mark.parametrize("base", ["tanh", "lstm"])
def test_final_states_alone(base):
    torch.manual_seed(4)
    rnn, x, lengths = make(base, 4, 3, 2, 2), torch.randn(9, 4, 4, dtype=torch.float64), torch.tensor([3, 9, 1, 9])
    for recurrence in (recurrent.run, recurrent.packed):
        _, whole = recurrence(rnn, x, lengths)
        nothing, final = recurrence(rnn, x, lengths, final_only=True)
        assert nothing is None
        torch.testing.assert_close(final, whole, rtol=0, atol=0)


# Subnormal numbers are a setting of each thread, which torch's own threads inherit: hence a fresh process.
VANISHING = """
import sys, warnings
import numpy, torch
from lab.engine import process, recurrent
warnings.simplefilter("error")
if "fused" in sys.argv: process.tune()
torch.set_num_threads(2)
torch.manual_seed(5)
rnn, x = torch.nn.RNN(64, 64), torch.randn(600, 64, 64, requires_grad=True)
_, h_n = getattr(recurrent, sys.argv[1])(rnn, x, torch.full((64,), 600), final_only=True)
h_n.sum().backward()
tiny = numpy.finfo(numpy.float32).tiny
print(((x.grad != 0) & (x.grad.abs() < float(tiny))).sum().item(), x.grad[-1].abs().max().item() > 1e-3)
"""


@pytest.mark.parametrize(("path", "some"), [("packed", True), ("fused", False)])
def test_a_vanished_gradient_is_zero(path, some):
    command = [sys.executable, "-c", VANISHING, path]
    subnormal, reaches = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert (int(subnormal) > 0) == some
    assert reaches == "True"


def test_dropout_between_layers_only_in_training():
    torch.manual_seed(3)
    rnn = make("relu", 200, 200, 2, 1, dropout=0.5)
    with torch.no_grad():  # the second layer passes on what it reads: here what dropout left of the first one's output
        rnn.weight_ih_l1.copy_(torch.eye(200))
        for name in ("weight_hh_l1", "bias_ih_l1", "bias_hh_l1"):
            getattr(rnn, name).zero_()
    x, lengths = torch.randn(6, 3, 200, dtype=torch.float64), torch.tensor([6, 2, 4])
    whole = recurrent.packed(rnn.eval(), x, lengths)[0]
    torch.testing.assert_close(recurrent.run(rnn, x, lengths)[0], whole)
    thinned = recurrent.run(rnn.train(), x, lengths)[0]
    kept = thinned != 0
    torch.testing.assert_close(thinned[kept], whole[kept] * 2)
    assert 0.45 < kept.sum() / (whole != 0).sum() < 0.55


def plain_summaries(rnn, x, lengths, _=None):
    """Final states, mean and maximum by ``torch.nn``'s packed sequences, a review at a time."""
    outputs, state = recurrent.packed(rnn, x, lengths)
    own = [outputs[:length, b] for b, length in enumerate(lengths.tolist())]
    return state, torch.stack([y.mean(0) for y in own]), torch.stack([y.amax(0) for y in own])


@settings(max_examples=60, deadline=None)
@given(
    base=st.sampled_from(["tanh", "lstm"]),
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=8),
    layers=st.integers(1, 2),
    directions=st.integers(1, 2),
    seed=st.integers(0, 2**16),
)
def test_mean_and_maximum_of_the_states_are_those_of_packed_sequences(base, lengths, layers, directions, seed):
    torch.manual_seed(seed)
    rnn = make(base, 3, 4, layers, directions)
    lengths, found = torch.tensor(lengths), []
    x = torch.randn(max(lengths) + 2, len(lengths), 3, dtype=torch.float64)
    weights = [torch.randn(len(lengths), 4 * directions, dtype=torch.float64) for _ in range(2)]
    for function, padding in ((recurrent.summaries, torch.nan), (plain_summaries, 0.0)):
        inside = torch.arange(len(x))[:, None, None] < lengths[:, None]
        leaf = torch.where(inside, x, padding).requires_grad_(True)
        state, mean, most = function(rnn, leaf, lengths)
        h_n = state[0] if base == "lstm" else state
        loss = h_n.sum() + (weights[0] * mean).sum() + (weights[1] * most).sum()
        gradients = torch.autograd.grad(loss, [leaf, *rnn.parameters()])
        gradients = [torch.where(inside, gradients[0], 0.0), *gradients[1:]]
        found.append([h_n, mean, most, *gradients])
    for mine, other in zip(*found, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-9, atol=1e-9)
