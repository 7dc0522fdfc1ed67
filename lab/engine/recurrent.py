"""Recurrence over a padded batch with lengths: what packed ``torch.nn`` gives, at a cost linear in the text.

On CUDA this is cuDNN's packed path. On a CPU the packed path of ``torch.nn`` lets time and memory grow with
the square of the length (pytorch/pytorch#149194), so that path is not taken there:

- The tokens stand in the order of a ``PackedSequence``: reviews that are finished leave the batch, no padding is read.
- Reviews of like length form strips; threads go through them, and both directions, side by side. The products of
  inputs and weights are torch's, for some steps at once; the steps themselves are compiled: ``lab.engine.kernels``.
- The reverse direction reads each review mirrored within its own length.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from lab.engine import process

MODES = ("RNN_TANH", "RNN_RELU", "LSTM")
CHUNK = 1024  # rows that a thread works on at a time: their gates fit into its cache
STRIP = 32  # most reviews, times directions, that go through the steps together on one thread


def run(rnn: nn.RNNBase, x: torch.Tensor, lengths: torch.Tensor, state=None, embedding=None, final_only=False):
    """Run ``rnn`` (``nn.RNN`` or ``nn.LSTM``, time first) over the first ``lengths[b]`` steps of each review.

    x: (T, B, I), or with an ``embedding`` (``nn.Embedding``) of I columns tokens (T, B); whatever stands at padding is
    never read. lengths: (B,) int64, at least 1. state: like that of ``rnn``, (L*D, B, H) each.
    Returns outputs (T, B, D*H), zero at padding, and final states (L*D, B, H): h_n, for LSTM (h_n, c_n). With
    ``final_only`` the outputs are None, which saves laying them out. On a CPU all agrees with ``torch.nn`` up to rounding;
    in single precision its tanh is off by less than 4e-7.
    """
    path = fused if by_rows(rnn, x) else packed
    return path(rnn, x, lengths, state, embedding, final_only)


def by_rows(rnn: nn.RNNBase, x: torch.Tensor) -> bool:
    """Whether ``layers`` can do the work: on a CPU, time first, a kind of layer and a precision that it knows."""
    known = rnn.mode in MODES and rnn.all_weights[0][0].dtype in (torch.float32, torch.float64)
    return known and not (x.is_cuda or rnn.proj_size or rnn.batch_first)


def packed(rnn: nn.RNNBase, x: torch.Tensor, lengths: torch.Tensor, state=None, embedding=None, final_only=False):
    """The path of ``torch.nn``: cuDNN on a GPU, the yardstick on a CPU."""
    x = x if embedding is None else embedding(x)
    steps = x.shape[1 if rnn.batch_first else 0]
    sequence = pack_padded_sequence(x, lengths.cpu(), rnn.batch_first, enforce_sorted=False)
    outputs, state = rnn(sequence, state)
    if final_only:
        return None, state
    return pad_packed_sequence(outputs, rnn.batch_first, total_length=steps)[0], state


def summaries(rnn: nn.RNNBase, x: torch.Tensor, lengths: torch.Tensor, embedding=None):
    """Final states as ``run`` gives them, and mean and maximum (B, D*H each) of the last layer's states of each review.

    The arguments are those of ``run``; nothing that stands at padding takes part.
    """
    B = len(lengths)
    if by_rows(rnn, x):
        y, layout, state = layers(rnn, x, lengths, None, embedding)
        review = layout.places % B  # (N,) whose state each row is
        total = y.new_zeros(B, y.shape[1]).index_add(0, review, y)
        most = y.new_full((B, y.shape[1]), -torch.inf).scatter_reduce(0, review[:, None].expand_as(y), y, "amax")
    else:
        y, state = packed(rnn, x, lengths, embedding=embedding)
        padding = torch.arange(len(y), device=y.device)[:, None, None] >= lengths.to(y.device)[:, None]  # (T, B, 1)
        total, most = y.sum(0), y.masked_fill(padding, -torch.inf).amax(0)  # the outputs are zero at padding
    return state, total / lengths.to(y.device)[:, None], most


def fused(rnn: nn.RNNBase, x: torch.Tensor, lengths: torch.Tensor, state=None, embedding=None, final_only=False):
    """The same on a CPU, with time and memory linear in the number of tokens."""
    (T, B), (y, layout, final) = x.shape[:2], layers(rnn, x, lengths, state, embedding)
    if final_only:
        return None, final
    return y.new_zeros(T * B, y.shape[1]).index_copy(0, layout.places, y).unflatten(0, (T, B)), final


def layers(rnn: nn.RNNBase, x: torch.Tensor, lengths: torch.Tensor, state, embedding):
    """The last layer's states as rows (N, D*H), the layout that tells whose they are, and the final states."""
    process.tune()
    B, L, D, H = x.shape[1], rnn.num_layers, 2 if rnn.bidirectional else 1, rnn.hidden_size
    layout = lay_out(lengths, D)
    y = x.flatten(0, 1).index_select(0, layout.places)
    y = y if embedding is None else embedding(y)  # (N, I)
    if state is None:
        state = [y.new_zeros(L * D, B, H)] * (2 if rnn.mode == "LSTM" else 1)
    elif rnn.mode != "LSTM":
        state = [state]
    initial = [s.index_select(1, layout.order) for s in state]

    finals = []
    for layer in range(L):
        if layer and rnn.dropout:
            y = F.dropout(y, rnn.dropout, rnn.training)
        sides = []
        for k in range(layer * D, layer * D + D):
            rows = y if k == layer * D else y.index_select(0, layout.mirror)
            W, U, *biases = rnn.all_weights[k]
            sides.append((rows, W, U, sum(biases) if biases else W.new_zeros(len(W)), *(s[k] for s in initial)))
        results = Pass.apply(rnn.mode, layout, D, *itertools.chain(*sides))
        outputs, last = results[:D], results[D:]
        finals += [last[k::D] for k in range(D)]
        directions = [output if k == 0 else output.index_select(0, layout.mirror) for k, output in enumerate(outputs)]
        y = torch.cat(directions, 1) if D == 2 else directions[0]  # (N, D*H)
    back = torch.argsort(layout.order)
    final = tuple(torch.stack(s).index_select(1, back) for s in zip(*finals, strict=True))
    return y, layout, final if rnn.mode == "LSTM" else final[0]


class Chunk(NamedTuple):
    """Some steps of a strip."""

    rows: slice  # of the N
    sizes: np.ndarray  # reviews that have each of the steps
    before: slice | None  # rows of the states that the first step goes on from; None for the initial ones


class Strip(NamedTuple):
    """Some reviews, whose rows stand in the order of ``PackedSequence``: all first steps, longest review first, …"""

    columns: slice  # their places in ``Layout.order``
    chunks: list[Chunk]


class Layout(NamedTuple):
    """The N tokens of a batch as rows, one strip after the other."""

    order: torch.Tensor  # (B,) the reviews, longest first
    places: torch.Tensor  # (N,) t * B + b of what each row holds
    mirror: torch.Tensor  # (N,) the row of the same review's token as far from its end as this one from its start
    ends: torch.Tensor  # (B,) rows of the last tokens, in the order of ``order``
    strips: list[Strip]


def lay_out(lengths: torch.Tensor, D: int) -> Layout:
    """The layout of a batch of reviews of these ``lengths`` (B,), for ``D`` directions."""
    lengths, order = (a.numpy() for a in torch.sort(lengths.cpu(), descending=True, stable=True))
    B, n, places, mirrors, ends, strips = len(lengths), 0, [], [], [], []
    n_threads = math.ceil(torch.get_num_threads() / D)  # for a direction
    width = math.ceil(B / (math.ceil(B / (STRIP * D) / n_threads) * n_threads))  # as many strips for each thread
    for first in range(0, B, width):
        columns = slice(first, min(first + width, B))
        own = lengths[columns]
        step, column = np.arange(own[0])[:, None], np.arange(len(own))  # (T, 1), (b,)
        there = step < own  # (T, b)
        sizes = there.sum(1)
        starts = n + np.append(0, np.cumsum(sizes))  # (T + 1,)
        places.append((step * B + order[columns])[there])
        mirrors.append((starts[np.maximum(own - 1 - step, 0)] + column)[there])
        ends.append(starts[own - 1] + column)
        strips.append(Strip(columns, cut(starts, sizes)))
        n = starts[-1]
    places, mirror, ends = (torch.from_numpy(np.concatenate(parts)) for parts in (places, mirrors, ends))
    return Layout(torch.from_numpy(order), places, mirror, ends, strips)


def cut(starts: np.ndarray, sizes: np.ndarray) -> list[Chunk]:
    """Chunks of about ``CHUNK`` rows: starts (T + 1,) of each step's rows and their end, sizes (T,)."""
    chunks, t = [], 0
    while t < len(sizes):
        end = t + max(1, CHUNK // int(sizes[t]))
        before = slice(starts[t - 1], starts[t - 1] + sizes[t]) if t else None
        chunks.append(Chunk(slice(starts[t], starts[min(end, len(sizes))]), sizes[t:end], before))
        t = end
    return chunks


class Pass(torch.autograd.Function):
    """A layer: x (N, I), W, U, b and initial states (B, H) of each direction -> outputs (N, H) and final states (B, H).

    Directions and strips go side by side. The outputs of all directions come first, then each kind of final state.
    """

    @staticmethod
    def forward(ctx, mode, layout, D, *tensors):
        ways = [forward_way(mode, *side) for side in parted(tensors, D)]
        map_strips([work for *_, work in ways], layout.strips)
        ctx.mode, ctx.layout, ctx.D = mode, layout, D
        ctx.set_materialize_grads(False)  # nobody reads the outputs of the last layer: no zeros for them
        ctx.save_for_backward(*tensors, *(kept for z, states, _ in ways for kept in (z, *states)))
        ends = [[s.index_select(0, layout.ends) for s in states] for _, states, _ in ways]
        return *(states[0] for _, states, _ in ways), *itertools.chain(*zip(*ends, strict=True))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, *grads):
        D, n = ctx.D, len(grads) // ctx.D - 1  # n: kinds of state
        given, kept = parted(ctx.saved_tensors[: D * (4 + n)], D), parted(ctx.saved_tensors[D * (4 + n) :], D)
        ways = [backward_way(ctx.mode, *given[k], *kept[k], dy=grads[k], dfinal=grads[D + k :: D]) for k in range(D)]
        totals = map_strips([work for *_, work in ways], ctx.layout.strips)
        result = [None, None, None]
        for (x, _, U, *_), (dx, dinitial, _), parts in zip(given, ways, totals, strict=True):
            total, E, H = sum(parts), x.shape[1], U.shape[1]  # (E + H + 1 or more, G*H)
            result += [dx, total[:E].t(), total[E : E + H].t(), total[E + H].clone(), *dinitial]
        return tuple(result)


# One direction. The products with W and those that give the weights' gradients are torch's, a chunk at a time; what has
# to go step by step is in ``lab.engine.kernels``.


def forward_way(mode: str, x, W, U, b, *initial):
    """Room for what LSTM's gates (else the states) and the states will be, and the work on a strip that computes them."""
    from lab.engine import kernels  # Numba takes a second to load: not where cuDNN does the work

    states = [x.new_empty(len(x), len(U[0])) for _ in initial]  # h and, of an LSTM, c: (N, H)
    z = x.new_empty(len(x), len(W)) if mode == "LSTM" else states[0]  # (N, G*H)
    Wt, weights, past, now, gates = W.t(), arrays(U.t(), b), arrays(*initial), arrays(*states), z.numpy()

    def pass_strip(strip: Strip) -> None:
        for chunk in strip.chunks:
            torch.mm(x[chunk.rows], Wt, out=z[chunk.rows])
            before = states_before(strip, chunk, past, now)
            if mode == "LSTM":
                results = [a[chunk.rows] for a in now]
                kernels.lstm_forward(gates[chunk.rows], *weights, chunk.sizes, *before, *results)
            else:
                kernels.rnn_forward(gates[chunk.rows], *weights, chunk.sizes, *before, mode == "RNN_RELU")

    return z, states, pass_strip


def backward_way(mode: str, x, W, U, b, *kept, dy, dfinal):
    """Room for the gradients of x and the initial states, and the work on a strip.

    ``kept``: initial states, z and states of ``forward_way``. The work's result is the strip's part of the weights' gradients.
    """
    from lab.engine import kernels

    n = len(dfinal)
    initial, z, states = kept[:n], kept[n], kept[n + 1 :]
    dx, dinitial = torch.empty_like(x), [torch.zeros_like(s) for s in initial]
    for gradient, final in zip(dinitial, dfinal, strict=True):
        if final is not None:
            gradient.copy_(final)
    inputs, weights, gates, past, now = *arrays(x, U, z), arrays(*initial), arrays(*states)
    outputs, changes, (E, H) = None if dy is None else arrays(dy)[0], arrays(*dinitial), (x.shape[1], U.shape[1])

    def pass_strip(strip: Strip) -> torch.Tensor:
        most = max(chunk.rows.stop - chunk.rows.start for chunk in strip.chunks)
        all_dz, factors = W.new_empty(most, len(W)), W.new_zeros(most, (E + H + 8) // 8 * 8)
        factors[:, E + H] = 1  # the column of ones gives the gradient of b; zeros pad the width to a multiple of 8
        total = W.new_zeros(factors.shape[1], len(W))
        for chunk in reversed(strip.chunks):
            rows, size = chunk.rows, chunk.rows.stop - chunk.rows.start
            dz, v = all_dz[:size], factors[:size]
            before = states_before(strip, chunk, past, now)
            result = [a[rows] for a in now]
            dy_ = None if dy is None else outputs[rows]
            change = [a[strip.columns] for a in changes]
            rest = (dy_, *change, dz.numpy(), v.numpy())
            if mode == "LSTM":
                kernels.lstm_backward(inputs[rows], weights, chunk.sizes, *before, *result, gates[rows], *rest)
            else:
                relu = mode == "RNN_RELU"
                kernels.rnn_backward(inputs[rows], weights, chunk.sizes, *before, *result, relu, *rest)
            torch.mm(dz, W, out=dx[rows])
            total.addmm_(v.t(), dz)
        return total

    return dx, dinitial, pass_strip


def parted(tensors: tuple, D: int) -> list[tuple]:
    """The tensors in ``D`` parts of the same number."""
    n = len(tensors) // D
    return [tensors[k * n : k * n + n] for k in range(D)]


def states_before(strip: Strip, chunk: Chunk, initial: list[np.ndarray], states: list[np.ndarray]) -> list[np.ndarray]:
    """The states that the first step of a chunk goes on from."""
    return [a[strip.columns] for a in initial] if chunk.before is None else [a[chunk.before] for a in states]


def arrays(*tensors: torch.Tensor) -> list[np.ndarray]:
    """The tensors for compiled code. What it shall write into must be contiguous: others are copied."""
    return [t.detach().contiguous().numpy() for t in tensors]


def map_strips(works: list[Callable], strips: list[Strip]) -> list[list]:
    """The results of each of ``works`` on each strip, by as many threads as torch uses."""

    inference, n = torch.is_inference_mode_enabled(), torch.get_num_threads()

    def alone(work: Callable, strip: Strip):
        with torch.inference_mode(inference), torch.no_grad():  # both are settings of a thread
            return work(strip)

    pairs = [(work, strip) for work in works for strip in strips]
    side_by_side = n > 1 and len(pairs) > 1
    results = iter((process.threads(n).map if side_by_side else map)(alone, *zip(*pairs, strict=True)))
    return [list(itertools.islice(results, len(strips))) for _ in works]
