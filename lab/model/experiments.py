"""Small experiments on gradients, memory and approximation: what 02_model measures for the theory."""

from __future__ import annotations

import copy
import math

import numpy as np
import torch
import torch.nn.functional as F
from scipy.integrate import solve_ivp
from torch import Tensor, nn

from lab import files
from lab.errors import LabError
from lab.model import bptt

# ------------------------------------------------------------------------------------ layers and their training


class SigmoidRNN(nn.RNN):
    """The Elman RNN with φ = σ, which ``torch.nn`` does not have; one layer, one direction."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (T, B, I) -> states (T, B, H), last state (1, B, H)."""
        h, _ = bptt.states(bptt.weights(self), x, "sigmoid")
        return h[1:], h[-1:]


def layer(kind: str, inputs: int, hidden_dim: int, seed: int, forget_bias: float = 0.0, scale: float = 1.0):
    """Make a recurrent layer of ``kind`` (a key of NAMES) and the linear layer to one logit.

    ``forget_bias`` is what the forget gates of "open" begin with (Jozefowicz et al. 2015); ``scale`` multiplies
    the initial U.
    """
    torch.manual_seed(seed)
    rnn = {"sigmoid": SigmoidRNN, "LSTM": nn.LSTM, "open": nn.LSTM}.get(kind, nn.RNN)(inputs, hidden_dim)
    with torch.no_grad():
        if kind == "orthogonal":
            nn.init.orthogonal_(rnn.weight_hh_l0)  # ‖Uv‖ = ‖v‖, so that η = 1 (Saxe et al. 2014)
        if kind == "open":
            rnn.bias_ih_l0[hidden_dim : 2 * hidden_dim] += forget_bias
        rnn.weight_hh_l0.mul_(scale)
    return rnn, nn.Linear(hidden_dim, 1)


def fit(rnn, head, draw, steps, rate=2e-3, clip=0.0, solved=0, rule=torch.optim.Adam) -> dict[str, list[float]]:
    """Train to judge sequences by their last state; returns loss and gradient norm (before clipping) per step.

    ``draw()`` gives x (T, B, I) and labels (B,); with ``solved``, so many faultless batches in a row end training.
    """
    parameters = [*rnn.parameters(), *head.parameters()]
    optimizer = rule(parameters, rate)
    losses, norms, faultless = [], [], 0
    for _ in range(steps):
        x, labels = draw()
        logits = head(rnn(x)[0][-1])[:, 0]  # (B,)
        loss = F.binary_cross_entropy_with_logits(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(parameters, clip or math.inf)
        optimizer.step()
        losses.append(loss.item())
        norms.append(norm.item())
        faultless = faultless + 1 if ((logits > 0) == (labels > 0)).all() else 0
        if solved and faultless == solved:
            break
    return dict(losses=losses, norms=norms)


@torch.no_grad()
def accuracy(rnn, head, x: Tensor, labels: Tensor) -> float:
    """Share of the sequences x (T, B, I) that are judged rightly."""
    return ((head(rnn(x)[0][-1])[:, 0] > 0) == (labels > 0)).float().mean().item()


# ---------------------------------------------------------------------------------------- gradients on reviews


def windows(reviews, length: int, n: int, seed: int) -> tuple[Tensor, Tensor]:
    """The last ``length`` tokens of up to ``n`` reviews that are long enough: tokens (T, n) and labels (n,).

    All end at t, so that t-k means the same in each. Raises ``LabError`` where too few are long enough.
    """
    enough = np.flatnonzero(reviews.lengths >= length)
    if len(enough) < 4:
        raise LabError(f"参数LENGTH的值{length}不可用：只有{len(enough)}篇影评有这么长。请改用更小的值。")
    chosen = np.random.default_rng(seed).choice(enough, min(n, len(enough)), replace=False)
    tokens = np.stack([reviews[place][-length:] for place in chosen], axis=1).astype(np.int64)
    return torch.from_numpy(tokens), torch.from_numpy(reviews.labels[chosen].astype(np.float32))


@torch.no_grad()
def follow(rnn, head, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Follow the gradient of the loss L_t of the last state back through the sequences x (t, B, I), in float64.

    Returns ``h`` (t+1, B, H) = dL_t/dh_k, ``delta`` and ``states`` for the weights' gradient, and for an LSTM the
    cell's ``c``, ``direct`` and the forget gates ``forget``.
    """
    rnn, head, x = copy.deepcopy(rnn).double(), copy.deepcopy(head).double(), x.double()
    weights, t = bptt.weights(rnn), len(x)

    def loss_gradient(h_t):  # ∂L_t/∂h_t of the binary cross-entropy: (σ(logit) - y)·v
        return (torch.sigmoid(head(h_t)) - labels[:, None].double()) * head.weight

    if isinstance(rnn, nn.LSTM):
        memory = bptt.lstm(weights, x)
        found = bptt.lstm_gradients(weights, memory, t, loss_gradient(memory.h[t]))
        return dict(h=found.h, c=found.c, direct=found.direct, delta=found.delta, states=memory.h, forget=memory.f[1:])
    phi = activation(rnn)
    h, z = bptt.states(weights, x, phi)
    dL_dh = loss_gradient(h[t])
    delta = bptt.deltas(weights, z, t, dL_dh, phi)
    return dict(h=bptt.state_gradients(weights, delta, dL_dh), delta=delta, states=h)


def activation(rnn: nn.RNN) -> str:
    """Name of the layer's φ."""
    return "sigmoid" if isinstance(rnn, SigmoidRNN) else "tanh"


def measure(rnn, head, x: Tensor, labels: Tensor) -> dict:
    """What ``follow`` finds, by distance t-k: gradient norms (median over reviews) and shares in dL_t/dU (mean)."""
    found = follow(rnn, head, x, labels)
    norms = found["h"].norm(dim=-1).flip(0)[:-1]  # (t, B), distance 0..t-1; the given h_0 is left out
    relative = norms / norms[0]
    share = bptt.shares(found["delta"], found["states"])  # (t, B)
    whole = bptt.weight_gradients(found["delta"], found["states"], x.double()).U
    result = dict(
        norms=relative.median(1).values.tolist(),
        beyond=(1 - share.cumsum(0)).clamp(min=0).mean(1).tolist(),  # share of all steps further away than d
        weight_gradient=(whole.norm() / x.shape[1]).item(),
    )
    if not isinstance(rnn, nn.LSTM):
        result["eta"] = bptt.eta(rnn.weight_hh_l0.detach().double(), activation(rnn))
        bound = result["eta"] ** torch.arange(len(relative), dtype=torch.float64)
        result["closest"] = (relative / bound[:, None])[1:].max().item()  # at most 1 where the bound holds
    return result


# ------------------------------------------------------------------------------------------ the long-range task

SYMBOLS = 8


def first_token(distance: int, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Sequences whose label is their first token, ``distance`` random tokens before the end.

    Returns x (distance+1, n, SYMBOLS) one-hot and labels (n,); tokens 0 and 1 stand only in first place.
    """
    tokens = torch.randint(2, SYMBOLS, (distance + 1, n), generator=generator)
    tokens[0] = torch.randint(0, 2, (n,), generator=generator)
    return F.one_hot(tokens, SYMBOLS).float(), tokens[0].float()


def remember(kind: str, distance: int, steps: int, seed: int, forget_bias: float = 0.0) -> float:
    """Train a layer of 32 units on ``first_token`` and return its accuracy on 1,000 new sequences."""
    generator = torch.Generator().manual_seed(seed)
    rnn, head = layer(kind, SYMBOLS, 32, seed, forget_bias)
    fit(rnn, head, lambda: first_token(distance, 64, generator), steps, rate=3e-3, clip=1.0, solved=5)
    return accuracy(rnn, head, *first_token(distance, 1000, generator))


# ------------------------------------------------------------------------------------------ a dynamical system

TIME_STEP = 0.2
HOLD = 5  # steps for which the force stays the same


def van_der_pol(n: int, steps: int, seed: int) -> tuple[Tensor, Tensor]:
    """n driven Van der Pol oscillators p'' = (1 - p²)p' - p + u from p = 1, p' = 0, by SciPy's integrator.

    Returns the force u (T, n, 1), drawn anew from [-1, 1] every HOLD steps, and the states (p, p') (T, n, 2), T being
    ``steps`` rounded up to whole holds; a step is TIME_STEP.
    """
    random, state = np.random.default_rng(seed), np.stack([np.ones(n), np.zeros(n)])
    forces, states = [], []
    for _ in range(-(-steps // HOLD)):
        u = random.uniform(-1, 1, n)

        def change(_, flat, u=u):
            p, v = flat.reshape(2, n)
            return np.concatenate([v, (1 - p**2) * v - p + u])

        times = TIME_STEP * np.arange(1, HOLD + 1)
        found = solve_ivp(change, (0, times[-1]), state.ravel(), t_eval=times, rtol=1e-6, atol=1e-8)
        states += list(found.y.T.reshape(HOLD, 2, n))
        forces += [u] * HOLD
        state = states[-1]
    tensors = np.stack(forces)[:, :, None], np.stack(states).transpose(0, 2, 1)
    return tuple(torch.from_numpy(array).float() for array in tensors)


def imitate(units: int, forces: Tensor, states: Tensor, steps: int, repeats: int, seed: int):
    """Train ``repeats`` fully connected sigmoid RNNs side by side to give the states (T, n, 2) for the forces (T, n, 1).

    h_k = σ(U h_{k-1} + W x_k + b), y_k = V h_k (+ a constant), the initial state is learnt. Returns a function from
    forces to states (R, T, n, 2).
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape, scale):
        return scale * torch.randn(repeats, *shape, generator=generator)

    # σ has slope 1/4 at 0: with U near 4·I and b = -U·½ a state begins as its own memory, h_k ≈ h_{k-1} + input.
    U = 4 * torch.eye(units) + normal(units, units, scale=0.8 / units**0.5)
    W, b = normal(1, units, scale=0.3), -(U / 2).sum(1, keepdim=True)
    V, a = normal(units, 2, scale=units**-0.5), torch.zeros(repeats, 1, 2)
    h_0 = torch.full((repeats, 1, units), 0.5)
    weights = [weight.requires_grad_() for weight in (U, W, b, V, a, h_0)]  # rows are states: h @ U is (Uᵀ)h

    def run(x):
        h, y = h_0.expand(-1, x.shape[1], -1), []  # (R, n, H)
        for x_k in x:
            h = torch.sigmoid(h @ U + x_k @ W + b)
            y.append(h @ V + a)
        return torch.stack(y, dim=1)  # (R, T, n, 2)

    optimizer = torch.optim.Adam(weights, 0.03)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.03, total_steps=steps, pct_start=0.1)
    for _ in range(steps):
        some = torch.randint(0, forces.shape[1], (32,), generator=generator)
        errors = ((run(forces[:, some]) - states[:, some]) ** 2).mean((1, 2, 3))  # (R,)
        optimizer.zero_grad()
        errors.sum().backward()
        lengths = sum(weight.grad.flatten(1).norm(dim=1) ** 2 for weight in weights) ** 0.5
        for weight in weights:  # each network is clipped by itself
            weight.grad /= lengths.clamp(min=1).view(-1, 1, 1)
        optimizer.step()
        schedule.step()
    return torch.no_grad()(run)


# ------------------------------------------------------------------------------------------------- data files


def save(dataset: str, name: str, data: dict) -> None:
    """Keep the result of an experiment for the report; only real data is kept."""
    if dataset == "aclImdb":
        files.write_json(files.result_path("theory", name), rounded(data))


def rounded(value):
    """The same with every float at four significant digits, for small files and quiet diffs."""
    if isinstance(value, dict):
        return {key: rounded(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(each) for each in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value
