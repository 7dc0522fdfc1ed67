"""BPTT and the LSTM by hand against autograd, torch.nn and finite differences, all in float64."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import approx_fprime
from torch import nn

from lab.model import bptt

CLOSE = dict(rtol=0, atol=1e-10)
sizes = dict(
    length=st.integers(1, 30),
    batch=st.integers(1, 4),
    inputs=st.integers(1, 5),
    hidden=st.integers(1, 6),
    scale=st.sampled_from([0.1, 1.0, 2.0]),  # beyond, networks are chaotic and amplify rounding itself
    seed=st.integers(0, 2**31),
)


def normal(generator, *shape):
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def layer_of(generator, rows, inputs, hidden, scale):
    def draw(*shape):
        return (scale / hidden**0.5 * normal(generator, *shape)).requires_grad_()

    return bptt.Weights(draw(rows * hidden, hidden), draw(rows * hidden, inputs), draw(rows * hidden))


def close(ours, theirs):
    # 1e-10 absolute; gradients of exploding networks are large numbers, so relative to their size as well
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("f", ["tanh", "sigmoid"])
@settings(max_examples=25, deadline=None)
@given(**sizes)
def test_elman_gradients_equal_autograd(f, length, batch, inputs, hidden, scale, seed):
    generator = torch.Generator().manual_seed(seed)
    layer = layer_of(generator, 1, inputs, hidden, scale)
    x, h_0, G = (
        normal(generator, length, batch, inputs),
        normal(generator, batch, hidden),
        normal(generator, length, batch, hidden),
    )
    # an independent forward pass; L_t = G_t·h_t + ½|h_t|², so that dL_t/dh_t = G_t + h_t
    h, hs, function = h_0, [], getattr(torch, f)
    for x_k in x:
        h = function(h @ layer.U.T + x_k @ layer.W.T + layer.b)
        h.retain_grad()
        hs.append(h)
    loss = sum((g * h).sum() + (h**2).sum() / 2 for g, h in zip(G, hs, strict=True))
    expected = torch.autograd.grad(loss, layer)
    with torch.no_grad():
        ours = bptt.gradients(layer, x, G + torch.stack(hs), f, h_0)
    for mine, theirs in zip(ours, expected, strict=True):
        close(mine, theirs)


@pytest.mark.parametrize("f", ["tanh", "sigmoid"])
@settings(max_examples=25, deadline=None)
@given(**sizes)
def test_state_gradients_of_one_loss_equal_autograd_and_obey_the_bound(f, length, batch, inputs, hidden, scale, seed):
    generator = torch.Generator().manual_seed(seed)
    layer = layer_of(generator, 1, inputs, hidden, scale)
    x, G = normal(generator, length, batch, inputs), normal(generator, batch, hidden)
    function, h, hs = (
        getattr(torch, f),
        torch.zeros(batch, hidden, dtype=torch.float64, requires_grad=True),
        [],
    )
    hs.append(h)
    for x_k in x:
        hs.append(h := function(h @ layer.U.T + x_k @ layer.W.T + layer.b))
    expected = torch.autograd.grad((G * h).sum(), [*hs, *layer])
    with torch.no_grad():
        states, z = bptt.states(layer, x, f)
        delta = bptt.deltas(layer, z, length, G, f)
        ours = bptt.state_gradients(layer, delta, G)
        weights = bptt.weight_gradients(delta, states, x)
    close(ours, torch.stack(expected[: length + 1]))
    for mine, theirs in zip(weights, expected[length + 1 :], strict=True):
        close(mine, theirs)
    eta = bptt.eta(layer.U.detach(), f)
    distance = torch.arange(length, -1, -1, dtype=torch.float64)[:, None]
    assert (ours.norm(dim=-1) <= eta**distance * G.norm(dim=-1) * (1 + 1e-9)).all()


@pytest.mark.parametrize("f", ["tanh", "sigmoid"])
@pytest.mark.parametrize("t", [1, 2, 7])
def test_elman_gradients_equal_finite_differences(f, t):
    random = np.random.default_rng(t)
    hidden, inputs = 3, 2
    flat = random.normal(size=hidden * hidden + hidden * inputs + hidden)
    x, target = random.normal(size=(t, inputs)), random.normal(size=hidden)

    def unpack(flat):
        U, W, b = np.split(flat, [hidden * hidden, hidden * (hidden + inputs)])
        return U.reshape(hidden, hidden), W.reshape(hidden, inputs), b

    def last_state(flat):
        U, W, b = unpack(flat)
        h = np.zeros(hidden)
        for x_k in x:
            z = U @ h + W @ x_k + b
            h = np.tanh(z) if f == "tanh" else 1 / (1 + np.exp(-z))
        return h

    numeric = approx_fprime(flat, lambda flat: ((last_state(flat) - target) ** 2).sum(), 1e-7)
    layer = bptt.Weights(*(torch.tensor(part) for part in unpack(flat)))
    x_ours = torch.tensor(x)[:, None]
    h, z = bptt.states(layer, x_ours, f)
    delta = bptt.deltas(layer, z, t, torch.tensor(2 * (last_state(flat) - target))[None], f)
    ours = torch.cat([part.flatten() for part in bptt.weight_gradients(delta, h, x_ours)])
    np.testing.assert_allclose(ours.numpy(), numeric, rtol=1e-4, atol=1e-5)


def test_two_steps_by_hand():
    # one sigmoid unit, U=2, W=1, b=0, x=(0, -1): h_1 = 1/2, z_2 = 2·½ - 1 = 0, h_2 = 1/2; L = h_2.
    # δ_2 = 1/4, δ_1 = 1/4·2·1/4 = 1/8; dU = δ_2 h_1 + δ_1 h_0 = 1/8; dW = 1/4·(-1) + 1/8·0; db = 3/8.
    layer = bptt.Weights(torch.tensor([[2.0]]), torch.tensor([[1.0]]), torch.tensor([0.0]))
    x = torch.tensor([0.0, -1.0]).reshape(2, 1, 1)
    h, z = bptt.states(layer, x, "sigmoid")
    delta = bptt.deltas(layer, z, 2, torch.ones(1, 1), "sigmoid")
    assert h.flatten().tolist() == [0, 0.5, 0.5]
    assert delta.flatten().tolist() == [0, 0.125, 0.25]
    assert [part.item() for part in bptt.weight_gradients(delta, h, x)] == [0.125, -0.25, 0.375]
    assert bptt.eta(layer.U, "sigmoid") == 0.5
    assert bptt.shares(delta, h).flatten().tolist() == [1, 0]  # h_0 = 0: the first step has no part in dU


@settings(max_examples=25, deadline=None)
@given(**sizes)
def test_lstm_equals_torch(length, batch, inputs, hidden, scale, seed):
    torch.manual_seed(seed)
    rnn = nn.LSTM(inputs, hidden, dtype=torch.float64)
    for parameter in rnn.parameters():
        nn.init.normal_(parameter, std=scale / hidden**0.5)
    x = torch.randn(length, batch, inputs, dtype=torch.float64)
    h_0, c_0, G = torch.randn(3, batch, hidden, dtype=torch.float64)
    outputs, (h_n, c_n) = rnn(x, (h_0[None], c_0[None]))
    memory = bptt.lstm(bptt.weights(rnn), x, h_0, c_0)
    close(memory.h[1:], outputs)
    close(memory.h[-1:], h_n)
    close(memory.c[-1:], c_n)
    # its gradients: of the weights against torch.nn, of every state against autograd through the cells
    expected = torch.autograd.grad((G * h_n).sum(), [rnn.weight_hh_l0, rnn.weight_ih_l0, rnn.bias_ih_l0])
    with torch.no_grad():
        ours = bptt.lstm_gradients(bptt.weights(rnn), memory, length, G)
        for mine, theirs in zip(bptt.weight_gradients(ours.delta, memory.h, x), expected, strict=True):
            close(mine, theirs)
    h, c = h_0.requires_grad_(), c_0.requires_grad_()
    hs, cs = [h], [c]
    for x_k in x:
        h, c = bptt.lstm_cell(bptt.weights(rnn), x_k, h, c)[:2]
        hs.append(h)
        cs.append(c)
    close(ours.h, torch.stack(torch.autograd.grad((G * h).sum(), hs, retain_graph=True)))
    close(ours.c, torch.stack(torch.autograd.grad((G * h).sum(), cs)))


def test_lstm_direct_path_is_the_product_of_forget_gates():
    torch.manual_seed(0)
    rnn = nn.LSTM(3, 4, dtype=torch.float64)
    with torch.no_grad():
        rnn.weight_hh_l0.zero_()  # without U the cell state is the only path
        x = torch.randn(9, 2, 3, dtype=torch.float64)
        memory = bptt.lstm(bptt.weights(rnn), x)
        ours = bptt.lstm_gradients(bptt.weights(rnn), memory, 9, torch.ones(2, 4, dtype=torch.float64))
    close(ours.direct, ours.c)
    close(ours.direct[0], memory.f[1:].prod(0) * ours.c[-1])


def test_torch_rnn_is_the_elman_rnn():
    torch.manual_seed(0)
    rnn, x = nn.RNN(3, 4, dtype=torch.float64), torch.randn(8, 2, 3, dtype=torch.float64)
    h, _ = bptt.states(bptt.weights(rnn), x)
    close(h[1:], rnn(x)[0])
