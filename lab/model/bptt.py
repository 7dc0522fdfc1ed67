"""Back-propagation through time and the LSTM, written out from the lab sheet's equations, without autograd.

Indices are the formulas': row 0 of ``h`` is the initial state, row k of ``z`` and of ``delta`` belongs to
step k (row 0 is empty). Steps are counted from 1, so the input of step k is ``x[k - 1]``. Every sequence of a
batch is a row, which turns the column form Uᵀδ into ``delta @ U`` and Uh into ``h @ U.T``.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

# φ, φ' and the largest value of |φ'|.
ACTIVATIONS = {
    "tanh": (torch.tanh, lambda z: 1 - torch.tanh(z) ** 2, 1.0),
    "sigmoid": (torch.sigmoid, lambda z: torch.sigmoid(z) * (1 - torch.sigmoid(z)), 0.25),
}


# ---------------------------------------------------------------- Elman RNN: h_k = φ(U h_{k-1} + W x_k + b)


class Weights(NamedTuple):
    """Weights of one recurrent layer; the LSTM stacks its four gates i, f, g, o along the first axis."""

    U: Tensor  # state–state (H, H) or (4H, H)
    W: Tensor  # state–input (H, I) or (4H, I)
    b: Tensor  # (H,) or (4H,)


def weights(rnn: nn.RNN | nn.LSTM) -> Weights:
    """U, W and b of the first layer of a ``torch.nn`` layer, which splits b into two vectors."""
    return Weights(rnn.weight_hh_l0, rnn.weight_ih_l0, rnn.bias_ih_l0 + rnn.bias_hh_l0)


def states(layer: Weights, x: Tensor, phi: str = "tanh", h_0: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Run the Elman RNN: z_k = U h_{k-1} + W x_k + b, h_k = φ(z_k).

    x (T, B, I) -> h (T+1, B, H), z (T+1, B, H).
    """
    U, W, b = layer
    function, _, _ = ACTIVATIONS[phi]
    driven = x @ W.T + b  # (T, B, H)
    h = [torch.zeros_like(driven[0]) if h_0 is None else h_0]
    z = [torch.zeros_like(driven[0])]
    for k in range(1, len(x) + 1):
        z.append(h[k - 1] @ U.T + driven[k - 1])  # z_k = U h_{k-1} + W x_k + b
        h.append(function(z[k]))  # h_k = φ(z_k)
    return torch.stack(h), torch.stack(z)


def deltas(layer: Weights, z: Tensor, t: int, dL_dh: Tensor, phi: str = "tanh") -> Tensor:
    """delta_{t,k} = dL_t/dz_k for k = 1..t, where ``dL_dh`` (B, H) is dL_t/dh_t.

    z (T+1, B, H) -> (t+1, B, H).
    """
    _, slope, _ = ACTIVATIONS[phi]
    delta = [torch.zeros_like(dL_dh)] * (t + 1)
    delta[t] = slope(z[t]) * dL_dh  # δ_{t,t} = diag(φ'(z_t)) ∂L_t/∂h_t
    for k in range(t - 1, 0, -1):
        delta[k] = slope(z[k]) * (delta[k + 1] @ layer.U)  # δ_{t,k} = diag(φ'(z_k)) Uᵀ δ_{t,k+1}
    return torch.stack(delta)


def weight_gradients(delta: Tensor, h: Tensor, x: Tensor) -> Weights:
    """dL_t/dU, dL_t/dW and dL_t/db, summed over the batch, from delta (t+1, B, H), h and x.

    Holds for the LSTM too, with delta (t+1, B, 4H) of the stacked gates.
    """
    t = len(delta) - 1
    dU = sum(delta[k].T @ h[k - 1] for k in range(1, t + 1))  # ∂L_t/∂U = Σ_k δ_{t,k} h_{k-1}ᵀ
    dW = sum(delta[k].T @ x[k - 1] for k in range(1, t + 1))  # ∂L_t/∂W = Σ_k δ_{t,k} x_kᵀ
    db = sum(delta[k].sum(0) for k in range(1, t + 1))  #       ∂L_t/∂b = Σ_k δ_{t,k}
    return Weights(dU, dW, db)


def state_gradients(layer: Weights, delta: Tensor, dL_dh: Tensor) -> Tensor:
    """dL_t/dh_k for k = 0..t, as (t+1, B, H)."""
    # ∂L_t/∂h_k = Uᵀ diag(φ'(z_{k+1})) ∂L_t/∂h_{k+1} = Uᵀ δ_{t,k+1}
    return torch.cat([delta[1:] @ layer.U, dL_dh[None]])


def gradients(layer: Weights, x: Tensor, dL_dh: Tensor, phi: str = "tanh", h_0: Tensor | None = None) -> Weights:
    """Gradient of L = Σ_t L_t, where row t-1 of ``dL_dh`` (T, B, H) is dL_t/dh_t."""
    h, z = states(layer, x, phi, h_0)
    each = [weight_gradients(deltas(layer, z, t, dL_dh[t - 1], phi), h, x) for t in range(1, len(x) + 1)]
    return Weights(*(sum(terms) for terms in zip(*each, strict=True)))


def eta(U: Tensor, phi: str = "tanh") -> float:
    """η = ‖U‖·max|φ'| (spectral norm): ‖∂L_t/∂h_k‖ ≤ η^(t-k)·‖∂L_t/∂h_t‖."""
    return float(torch.linalg.matrix_norm(U, 2)) * ACTIVATIONS[phi][2]


def shares(delta: Tensor, h: Tensor) -> Tensor:
    """Share that the step at distance d = t-k has in dL_t/dU, for d = 0..t-1, as (t, B).

    The step's term is the outer product δ_{t,k} h_{k-1}ᵀ, whose norm is ‖δ_{t,k}‖·‖h_{k-1}‖; shares are
    of the sum of these norms.
    """
    norms = delta[1:].norm(dim=-1) * h[: len(delta) - 1].norm(dim=-1)  # (t, B), k = 1..t
    return (norms / norms.sum(0)).flip(0)


# ------------------------------------------------------------------------------------------------ LSTM


class Memory(NamedTuple):
    """What the backward pass of an LSTM needs; all (T+1, B, H), row 0 of the gates is empty."""

    h: Tensor
    c: Tensor
    i: Tensor  # input gate
    f: Tensor  # forget gate
    g: Tensor  # candidate c̃
    o: Tensor  # output gate


def lstm_cell(layer: Weights, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, ...]:
    """One step of the LSTM: x (B, I), previous h and c (B, H) -> new h, c and the gates i, f, g, o."""
    z_i, z_f, z_g, z_o = (x @ layer.W.T + h @ layer.U.T + layer.b).chunk(4, dim=-1)
    i = torch.sigmoid(z_i)  # what of the candidate is written
    f = torch.sigmoid(z_f)  # what of the cell is kept
    g = torch.tanh(z_g)  #    the candidate c̃_k
    o = torch.sigmoid(z_o)  # what of the cell is shown
    c = f * c + i * g  #      c_k = f_k ⊙ c_{k-1} + i_k ⊙ c̃_k
    h = o * torch.tanh(c)  #  h_k = o_k ⊙ tanh(c_k)
    return h, c, i, f, g, o


def lstm(layer: Weights, x: Tensor, h_0: Tensor | None = None, c_0: Tensor | None = None) -> Memory:
    """Run the LSTM over x (T, B, I)."""
    empty = x.new_zeros(x.shape[1], layer.U.shape[1])
    rows = [(empty if h_0 is None else h_0, empty if c_0 is None else c_0, empty, empty, empty, empty)]
    for x_k in x:
        rows.append(lstm_cell(layer, x_k, *rows[-1][:2]))
    return Memory(*(torch.stack(column) for column in zip(*rows, strict=True)))


class LSTMGradients(NamedTuple):
    """Gradients of one loss L_t along an LSTM."""

    delta: Tensor  # dL_t/dz_k of the four stacked gates, (t+1, B, 4H), row 0 empty
    h: Tensor  # dL_t/dh_k, (t+1, B, H)
    c: Tensor  # dL_t/dc_k, every path counted, (t+1, B, H)
    direct: Tensor  # dL_t/dc_k along the cell state alone: (f_{k+1} ⊙ … ⊙ f_t) ⊙ dL_t/dc_t, (t+1, B, H)


def lstm_gradients(layer: Weights, memory: Memory, t: int, dL_dh: Tensor) -> LSTMGradients:
    """BPTT of the LSTM for one loss L_t with ``dL_dh`` (B, H) = dL_t/dh_t."""
    _, c, i, f, g, o = memory
    dh, dc = dL_dh, torch.zeros_like(dL_dh)
    by_delta, by_h, by_c, direct = [], [], [], []
    for k in range(t, 0, -1):
        shown = torch.tanh(c[k])
        dc = dc + dh * o[k] * (1 - shown**2)  # c_k acts through h_k and (already in dc) through c_{k+1}
        by_h.append(dh)
        by_c.append(dc)
        direct.append(dc if k == t else f[k + 1] * direct[-1])
        delta = torch.cat(
            [
                dc * g[k] * i[k] * (1 - i[k]),
                dc * c[k - 1] * f[k] * (1 - f[k]),
                dc * i[k] * (1 - g[k] ** 2),
                dh * shown * o[k] * (1 - o[k]),
            ],
            dim=-1,
        )
        by_delta.append(delta)
        dh = delta @ layer.U  # to h_{k-1}: through the four gates
        dc = dc * f[k]  #       to c_{k-1}: only multiplied by the forget gate, neither U nor φ' comes in
    by_delta.append(torch.zeros_like(by_delta[0]))
    by_h.append(dh)
    by_c.append(dc)
    direct.append(f[1] * direct[-1])
    return LSTMGradients(*(torch.stack(rows[::-1]) for rows in (by_delta, by_h, by_c, direct)))
