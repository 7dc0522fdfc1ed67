"""Recurrence over a padded batch with lengths: what packed ``torch.nn`` gives, at a cost linear in the text.

On CUDA this is cuDNN's packed path. On a CPU the packed path of ``torch.nn`` lets time and memory grow with
the square of the length (pytorch/pytorch#149194), so that path is not taken there:

- Reviews of like length form groups, padded to their longest member and no further: ``WASTE`` bounds the padding.
- An LSTM's group goes through oneDNN's fused LSTM (``torch.lstm``), which knows nothing of lengths. A last input
  column tells the padding: its weights shut the input and output gates there and hold the forget gate open, so that
  the cells wait unchanged, to the last bit and in the gradients too, for the longest review of the group.
- For Elman's RNN torch has no fused pass; ``Elman`` is one, with a backward pass written out.
- The reverse direction reads each review mirrored within its own length.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

# oneDNN compiles its LSTM for every size of a group and keeps 1024 of them, half a gigabyte. Few sizes come twice.
# It reads this when it is first used.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")

MEMBERS = 64  # most reviews in a group
WASTE = {"LSTM": 0.1, "RNN_TANH": 0.25, "RNN_RELU": 0.25}  # most padding in a group, as a share of its tokens
SHUT = -1e6  # before a gate's logistic function, which gives exactly 0 there


def run(rnn: nn.RNNBase, x: torch.Tensor, lengths: torch.Tensor, state=None, embedding=None, final_only=False):
    """Run ``rnn`` (``nn.RNN`` or ``nn.LSTM``, time first) over the first ``lengths[b]`` steps of each review.

    x: (T, B, I), or with an ``embedding`` (``nn.Embedding``) of I columns tokens (T, B); whatever stands at padding is
    never read. lengths: (B,) int64, at least 1. state: like that of ``rnn``, (L*D, B, H) each.
    Returns outputs (T, B, D*H), zero at padding, and final states (L*D, B, H): h_n, for LSTM (h_n, c_n). With
    ``final_only`` the outputs are None, which saves laying them out.
    """
    if x.is_cuda or rnn.mode not in WASTE or rnn.proj_size or rnn.batch_first:
        return packed(rnn, x, lengths, state, embedding, final_only)
    return grouped(rnn, x, lengths, state, embedding, final_only)


def packed(rnn: nn.RNNBase, x: torch.Tensor, lengths: torch.Tensor, state=None, embedding=None, final_only=False):
    """The path of ``torch.nn``: cuDNN on a GPU, the yardstick on a CPU."""
    x = x if embedding is None else embedding(x)
    steps = x.shape[1 if rnn.batch_first else 0]
    sequence = pack_padded_sequence(x, lengths.cpu(), rnn.batch_first, enforce_sorted=False)
    outputs, state = rnn(sequence, state)
    if final_only:
        return None, state
    return pad_packed_sequence(outputs, rnn.batch_first, total_length=steps)[0], state


def grouped(rnn: nn.RNNBase, x: torch.Tensor, lengths: torch.Tensor, state=None, embedding=None, final_only=False):
    """The same on a CPU, with time and memory linear in the number of tokens."""
    tune_process()
    (T, B), L, D, H = x.shape[:2], rnn.num_layers, 2 if rnn.bidirectional else 1, rnn.hidden_size
    lstm = rnn.mode == "LSTM"
    layout = lay_out(lengths, WASTE[rnn.mode])
    y = x.flatten(0, 1).index_select(0, layout.places)
    y = y if embedding is None else embedding(y)  # (N, I)
    if state is None:
        state = (y.new_zeros(L * D, B, H),) * 2
    elif not lstm:
        state = (state, state)  # an RNN has no cells, and what stands in for them is not read
    h_0, c_0 = (s.index_select(1, layout.order) for s in state)

    states = []
    for layer in range(L):
        if layer and rnn.dropout:
            y = F.dropout(y, rnn.dropout, rnn.training)
        directions = []
        for k in range(layer * D, layer * D + D):
            rows = y if k == layer * D else y.index_select(0, layout.mirror)
            run_group = lstm_group(*rnn.all_weights[k]) if lstm else elman_group(rnn.mode, *rnn.all_weights[k])
            outputs, cells = [], []
            for group, part in zip(layout.groups, rows.split([g.n for g in layout.groups]), strict=True):
                output, cell = run_group(part, h_0[k, group.columns], c_0[k, group.columns], group)
                outputs.append(output)
                cells.append(cell)
            output = torch.cat(outputs)  # (N, H)
            states.append((output.index_select(0, layout.ends), torch.cat(cells)))
            directions.append(output if k == layer * D else output.index_select(0, layout.mirror))
        y = torch.cat(directions, 1) if D == 2 else directions[0]  # (N, D*H)
    back = torch.argsort(layout.order)
    h_n, c_n = (torch.stack(s).index_select(1, back) for s in zip(*states, strict=True))
    final = (h_n, c_n) if lstm else h_n
    if final_only:
        return None, final
    real, where = layout.real, layout.places[layout.real]
    outputs = y.new_zeros(T * B, D * H).index_copy_(0, where, y.index_select(0, real)).unflatten(0, (T, B))
    return outputs, final


class Group(NamedTuple):
    """Reviews that are padded to the same length T, longest first; as rows: all first steps, all second steps, …"""

    columns: slice  # the group's places in Layout.order
    sizes: list[int]  # (T,) reviews that have a step t
    padding: torch.Tensor | None  # (T * b, 1) whether a row is padding; None where none is

    @property
    def n(self) -> int:
        """Rows, padding included."""
        return len(self.sizes) * (self.columns.stop - self.columns.start)


class Layout(NamedTuple):
    """The rows of all groups, one group after the other: N of them."""

    order: torch.Tensor  # (B,) the reviews, group by group
    places: torch.Tensor  # (N,) t * B + b of what each row holds; padding repeats the review's last token
    mirror: torch.Tensor  # (N,) the row of the same review's token as far from its end as this one from its start
    ends: torch.Tensor  # (B,) rows of the last tokens, in the order of ``order``
    real: torch.Tensor  # rows that are not padding
    groups: list[Group]


def lay_out(lengths: torch.Tensor, waste: float) -> Layout:
    """Cut the reviews, longest first, into groups of at most ``MEMBERS`` with a share of at most ``waste`` padding."""
    B = len(lengths)
    lengths, order = torch.sort(lengths.cpu(), descending=True, stable=True)
    n, groups, places, mirrors, ends, padded = 0, [], [], [], [], []
    for start, stop in cut(lengths.tolist(), waste):
        own, b = lengths[start:stop], stop - start
        step = torch.arange(int(own[0]))[:, None]  # (T, 1)
        padding = step >= own  # (T, b)
        places.append(torch.minimum(step, own - 1) * B + order[start:stop])
        mirrors.append(n + torch.where(padding, step, own - 1 - step) * b + torch.arange(b))
        ends.append(n + (own - 1) * b + torch.arange(b))
        padded.append(padding)
        flag = padding.reshape(-1, 1) if padding.any() else None
        groups.append(Group(slice(start, stop), (b - padding.sum(1)).tolist(), flag))
        n += padding.numel()
    places, mirror, padded = (torch.cat([part.flatten() for part in parts]) for parts in (places, mirrors, padded))
    return Layout(order, places, mirror, torch.cat(ends), (~padded).nonzero().squeeze(1), groups)


def cut(lengths: list[int], waste: float) -> list[tuple[int, int]]:
    """Bounds of the groups of reviews whose ``lengths`` fall."""
    bounds, start, tokens = [], 0, 0
    for place, length in enumerate(lengths):
        tokens += length
        if place - start == MEMBERS or lengths[start] * (place + 1 - start) > (1 + waste) * tokens:
            bounds.append((start, place))
            start, tokens = place, length
    return [*bounds, (start, len(lengths))]


def lstm_group(w_ih, w_hh, *biases):
    """What runs a group through one layer and direction of an LSTM: rows (T*b, I), states (b, H) -> rows, cells."""
    gates = w_ih.new_tensor([SHUT, -SHUT, 0, SHUT]).repeat_interleave(len(w_hh) // 4)  # i, f, g, o
    with_flag = torch.cat([w_ih, gates[:, None]], 1)

    def run_group(x, h_0, c_0, group: Group):
        weights = [w_ih, w_hh, *biases]
        if group.padding is not None:
            x = torch.cat([x, group.padding.to(x.dtype)], 1)
            weights[0] = with_flag
        x = x.unflatten(0, (len(group.sizes), -1))  # (T, b, I)
        state = (h_0[None].contiguous(), c_0[None].contiguous())
        y, _, c_n = torch.lstm(x, state, weights, bool(biases), 1, 0.0, torch.is_grad_enabled(), False, False)
        return y.flatten(0, 1), c_n[0]

    return run_group


def elman_group(mode, w_ih, w_hh, *biases):
    """The same for Elman's RNN, whose second result stands in for cells that it has not."""
    bias = sum(biases) if biases else w_ih.new_zeros(len(w_ih))

    def run_group(x, h_0, c_0, group: Group):
        return Elman.apply(x, h_0, w_ih, w_hh, bias, group.sizes, mode), c_0

    return run_group


class Elman(torch.autograd.Function):
    """h_t = f(U h_{t-1} + W x_t + b) over a group's rows: x (T*b, I), h_0 (b, H) -> y (T*b, H), f tanh or relu."""

    @staticmethod
    def forward(ctx, x, h_0, W, U, b, sizes, mode):
        # tanh(z) = 2 s(2z) - 1: torch computes the logistic function s four times as fast as tanh.
        scale = 2.0 if mode == "RNN_TANH" else 1.0
        y, back, minus_one = torch.addmm(b * scale, x, (W * scale).t()), (U * scale).t(), x.new_tensor(-1.0)
        h = h_0
        for size, y_t in zip(sizes, y.split(len(h_0)), strict=True):
            y_t = y_t[:size] if size < len(y_t) else y_t  # a finished review's rows keep what nobody reads
            h = h[:size] if size < len(h) else h
            y_t.addmm_(h, back)
            if mode == "RNN_TANH":
                torch.add(minus_one, y_t.sigmoid_(), alpha=2, out=y_t)
            else:
                y_t.clamp_min_(0)
            h = y_t
        ctx.save_for_backward(x, h_0, W, U, y)
        ctx.sizes, ctx.mode = sizes, mode
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, dy):
        x, h_0, W, U, y = ctx.saved_tensors
        b = len(h_0)
        dz = torch.addcmul(y.new_tensor(1.0), y, y, value=-1) if ctx.mode == "RNN_TANH" else (y > 0).to(y.dtype)
        dh = torch.zeros_like(h_0)
        for size, dz_t, dy_t in zip(reversed(ctx.sizes), reversed(dz.split(b)), reversed(dy.split(b)), strict=True):
            if size < b:
                dz_t[size:].zero_()
                dz_t, dy_t, dh_t = dz_t[:size], dy_t[:size], dh[:size]
            else:
                dh_t = dh
            torch.mm(dz_t.mul_(dh_t.add_(dy_t)), U, out=dh_t)
        dU = torch.mm(dz[:b].t(), h_0).addmm_(dz[b:].t(), y[:-b])  # each row by the state that it went on from
        return dz @ W, dh, dz.t() @ x, dU, dz.sum(0), None, None


@functools.cache  # once is enough for a process
def tune_process() -> None:
    """Set what training on a CPU wants of its process; best called first: torch's threads inherit it when they start.

    - Subnormal numbers count as 0. A gradient that vanishes over the steps goes through them (below 1.2e-38), and
      some processors compute with them a hundred times slower: a fixed 0.6 s for each step of an LSTM on such a one.
    - Where the C library is glibc, the process keeps the memory it frees. Fresh memory from the system costs ten
      times as much as writing to it: every page of it is cleared first.
    """
    for kind in "efd":
        np.finfo(kind)  # NumPy keeps the answer; asked later, it would warn that there are no subnormals
    torch.set_flush_denormal(True)
    if (library := c_library()) is not None:
        for option, value in ((-1, 2**31 - 1), (-2, 2**26), (-4, 0)):  # M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX
            library.mallopt(option, value)


def give_back_memory() -> None:
    """Return what the process has freed: now and then, or the holes between its blocks add up."""
    if (library := c_library()) is not None:
        library.malloc_trim(0)


@functools.cache
def c_library() -> ctypes.CDLL | None:
    """The C library where it is glibc, whose memory can be steered."""
    with contextlib.suppress(OSError, AttributeError, TypeError):
        library = ctypes.CDLL(None)
        library.gnu_get_libc_version  # noqa: B018 - raises where this is another library
        return library
    return None
