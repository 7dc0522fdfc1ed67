"""Recurrence over a padded batch with lengths: what packed ``torch.nn`` gives, at a cost linear in the text.

On CUDA this is cuDNN's packed path. On a CPU the packed path of ``torch.nn`` lets time and memory grow with
the square of the length (pytorch/pytorch#149194), so both passes are written out here:

- The tokens become rows, step after step, without padding: a finished review leaves the batch.
- The reviews form groups that know nothing of each other; each group has a thread of its own, and no thread
  waits for another at a step.
- Some hundred rows at a time, as many as stay in the cache, go through one product with the input weights, then
  step by step through the state weights. The backward pass goes the same way from the end.
- All activations are the logistic function, tanh(z) = 2 s(2z) - 1: torch computes it four times as fast.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

GROUP = 64  # most reviews in a group
CHUNK = 2**17  # gate values that are worked on at a time: 512 KiB in single precision
KEPT = 2**27  # most gate values that a call keeps for its backward pass; beyond, they are computed again
SCALE = {"RNN_RELU": (1.0,), "RNN_TANH": (2.0,), "LSTM": (1.0, 1.0, 2.0, 1.0)}  # what precedes s(z), by gate


def run(rnn: nn.RNNBase, x: torch.Tensor, lengths: torch.Tensor, state=None):
    """Run ``rnn`` (``nn.RNN`` or ``nn.LSTM``, time first) over the first ``lengths[b]`` steps of each review.

    x: (T, B, I), whatever stands at padding is never read; lengths: (B,) int64, at least 1.
    Returns outputs (T, B, D*H), zero at padding, and final states (L*D, B, H): h_n, for LSTM (h_n, c_n).
    """
    if x.is_cuda or rnn.mode not in SCALE or rnn.proj_size or rnn.batch_first:
        return packed(rnn, x, lengths, state)
    return unpadded(rnn, x, lengths, state)


def packed(rnn: nn.RNNBase, x: torch.Tensor, lengths: torch.Tensor, state=None):
    """The path of ``torch.nn``: cuDNN on a GPU, the yardstick on a CPU."""
    steps = x.shape[1 if rnn.batch_first else 0]
    sequence = pack_padded_sequence(x, lengths.cpu(), rnn.batch_first, enforce_sorted=False)
    outputs, state = rnn(sequence, state)
    return pad_packed_sequence(outputs, rnn.batch_first, total_length=steps)[0], state


def unpadded(rnn: nn.RNNBase, x: torch.Tensor, lengths: torch.Tensor, state=None):
    """The same on a CPU, with time and memory linear in the number of tokens."""
    keep_freed_memory()
    (T, B, width), L, D, H = x.shape, rnn.num_layers, 2 if rnn.bidirectional else 1, rnn.hidden_size
    lstm = rnn.mode == "LSTM"
    layout = lay_out(lengths)
    if state is None:
        state = (x.new_zeros(L * D, B, H),) * 2
    elif not lstm:
        state = (state, state)  # an RNN has no cells, and what stands in for them is not read
    h_0, c_0 = (s.index_select(1, layout.order).unflatten(0, (L, D)) for s in state)  # (L, D, B, H)
    record = torch.is_grad_enabled()
    keep = record and lstm and layout.n * L * D * 4 * H <= KEPT
    scale = x.new_tensor(SCALE[rnn.mode]).repeat_interleave(H)

    y, places, states = x.reshape(T * B, width), layout.places, []
    for layer in range(L):
        if layer and rnn.dropout:
            y = F.dropout(y, rnn.dropout, rnn.training)
        weights = []
        for w_ih, w_hh, *biases in rnn.all_weights[layer * D : (layer + 1) * D]:
            b = sum(biases) if biases else torch.zeros_like(scale)
            weights += [(w_ih * scale[:, None]).t(), (w_hh * scale[:, None]).t(), b * scale]
        y, *last = Layer.apply(y, places, h_0[layer], c_0[layer], layout, rnn.mode, record, keep, *weights)
        places = None  # from the first layer on, y is rows: (N, D*H)
        states.append(last)
    back = torch.argsort(layout.order)
    h_n, c_n = (torch.cat(s).index_select(1, back) for s in zip(*states, strict=True))
    outputs = y.new_zeros(T * B, D * H).index_copy_(0, layout.places, y).unflatten(0, (T, B))
    return outputs, (h_n, c_n) if lstm else h_n


class Group(NamedTuple):
    """Some of a batch's reviews, longest first, as rows: first all first steps, then all second steps, …"""

    rows: slice
    columns: slice  # the group's places in Layout.order
    sizes: list[int]  # (T,) reviews that have a step t
    before: torch.Tensor  # (2, rows) for either direction, the row whose state each row goes on from


class Layout(NamedTuple):
    """Where the tokens of a padded batch lie as N rows; rows N to N + B - 1 stand for the initial states."""

    n: int
    order: torch.Tensor  # (B,) the reviews, group by group
    places: torch.Tensor  # (N,) t * B + b of each row
    groups: list[Group]


def lay_out(lengths: torch.Tensor) -> Layout:
    """Deal the reviews, longest first, to groups, so that all groups are alike."""
    B, N = len(lengths), int(lengths.sum())
    ranking = torch.argsort(lengths, descending=True, stable=True)
    n_groups = max(-(-B // GROUP), 2 if B >= 32 else 1)
    members = [ranking[k::n_groups] for k in range(n_groups)]
    n, column, places, groups = 0, 0, [], []
    for member in members:
        present = torch.arange(int(lengths[member[0]]))[:, None] < lengths[member]  # (T, b)
        step, review = present.nonzero(as_tuple=True)
        rows, columns = slice(n, n + len(step)), slice(column, column + len(member))
        # The initial states stand before the first step and after the last one.
        table = torch.arange(N + columns.start, N + columns.stop).repeat(len(present) + 2, 1)
        table[1:-1][present] = torch.arange(rows.start, rows.stop)
        before = torch.stack([table[:-2][present], table[2:][present]])
        groups.append(Group(rows, columns, present.sum(1).tolist(), before))
        places.append(step * B + member[review])
        n, column = rows.stop, columns.stop
    return Layout(N, torch.cat(members), torch.cat(places), groups)


class Layer(torch.autograd.Function):
    """One layer, all directions: rows x (N, I) and states (D, B, H) to rows y (N, D*H) and states.

    With ``places`` x is not rows but the padded batch (T*B, I). ``weights`` are W (I, G*H), U (H, G*H) and
    b (G*H,) of each direction in turn, G gates.
    """

    @staticmethod
    def forward(ctx, x, places, h_0, c_0, layout, mode, record, keep, *weights):
        ctx.set_materialize_grads(False)
        (D, B, H), N = h_0.shape, layout.n
        h = x.new_empty(N + B, D * H)
        h[N:] = h_0.transpose(0, 1).flatten(1)
        c = x.new_empty(D, N + B, H) if record and mode == "LSTM" else None
        if c is not None:
            c[:, N:] = c_0
        gates = x.new_empty(D, N, 4 * H) if keep else None
        h_n, c_n = h_0.clone(), c_0.clone()  # they move from step to step in place

        def work(group, d):
            W, U, b = weights[3 * d : 3 * d + 3]
            h_t, c_t, y = h_n[d, group.columns], c_n[d, group.columns], h[:, d * H : (d + 1) * H]
            for rows, sizes in chunks(group, d == 1, W.shape[1]):
                z = torch.addmm(b, taken(x, places, rows), W, out=None if gates is None else gates[d, rows])
                if mode == "LSTM":
                    cells = z.new_empty(len(z), H) if c is None else c[d, rows]
                    lstm_forward(z, U, h_t, c_t, y[rows], cells, sizes, d == 1)
                else:
                    rnn_forward(z, U, h_t, y[rows], sizes, d == 1, mode)

        spread(work, [(group, d) for group in layout.groups for d in range(D)])
        if record:
            ctx.save_for_backward(x, places, h, c, gates, *weights)
            ctx.layout, ctx.mode = layout, mode
        return h[:N], h_n, c_n

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, dy, dh_n, dc_n):
        x, places, h, c, gates, *weights = ctx.saved_tensors
        D, H, N = len(weights) // 3, len(weights[1]), ctx.layout.n
        dh, dc = (x.new_zeros(D, len(h) - N, H) if s is None else s.clone() for s in (dh_n, dc_n))
        dx = torch.zeros_like(x) if ctx.needs_input_grad[0] else None

        def work(group):
            gradients = [torch.zeros_like(w) for w in weights]
            for d in range(D):
                W, U, b = weights[3 * d : 3 * d + 3]
                dW, dU, db = gradients[3 * d : 3 * d + 3]
                dh_t, dc_t, y = dh[d, group.columns], dc[d, group.columns], h[:, d * H : (d + 1) * H]
                first = group.rows.start
                for rows, sizes in chunks(group, d == 0, W.shape[1]):
                    x_t = taken(x, places, rows)
                    before = group.before[d, rows.start - first : rows.stop - first]
                    h_before = y.index_select(0, before)
                    dy_t = None if dy is None else dy[rows, d * H : (d + 1) * H]
                    if ctx.mode == "LSTM":
                        c_before = c[d].index_select(0, before)
                        if gates is None:
                            s = torch.addmm(b, x_t, W).addmm_(h_before, U).sigmoid_()
                        else:
                            s = gates[d, rows]
                        dz = lstm_backward(s, c_before, c[d, rows], U, dy_t, dh_t, dc_t, sizes, d == 0)
                    else:
                        dz = rnn_backward(y[rows], U, dy_t, dh_t, sizes, d == 0, ctx.mode)
                    if dx is not None and places is None:
                        dx[rows].addmm_(dz, W.t())
                    elif dx is not None:
                        dx.index_add_(0, places[rows], torch.mm(dz, W.t()))
                    dW.addmm_(x_t.t(), dz)
                    dU.addmm_(h_before.t(), dz)
                    db.add_(dz.sum(0))
            return gradients

        gradients = spread(work, [(group,) for group in ctx.layout.groups])
        dweights = [functools.reduce(torch.add, each) for each in zip(*gradients, strict=True)]
        return dx, None, dh, dc, None, None, None, None, *dweights


def lstm_forward(z, U, h, c, y, cells, sizes, from_end):
    """Steps of an LSTM: z (R, 4H) holds x W + b and gets the gates; y and cells (R, H) get the states."""
    two, minus_one = z.new_tensor(2.0), z.new_tensor(-1.0)
    h_t, c_t = h, c
    for z_t, i, f, g, o, y_t, cell_t in steps(sizes, from_end, z, *z.chunk(4, 1), y, cells):
        if len(z_t) != len(h_t):
            h_t, c_t = h[: len(z_t)], c[: len(z_t)]
        z_t.addmm_(h_t, U).sigmoid_()
        c_t.mul_(f).addcmul_(i, g, value=2).sub_(i)  # f c + i (2 g - 1)
        cell_t.copy_(c_t)
        torch.mul(c_t, two, out=h_t).sigmoid_()
        torch.add(minus_one, h_t, alpha=2, out=h_t).mul_(o)  # o tanh(c)
        y_t.copy_(h_t)


def lstm_backward(s, c_before, c, U, dy, dh, dc, sizes, from_end):
    """The same from the end: from gates s (R, 4H), cells (R, H) and gradients to dz (R, 4H)."""
    H = len(U)
    i, f, g, o = s.chunk(4, 1)
    tanh_c = (c * 2).sigmoid_().mul_(2).sub_(1)
    dz = torch.addcmul(s, s, s, value=-1)  # s', to become dz by what it is multiplied with
    dz_i, dz_f, dz_g, dz_o = dz.chunk(4, 1)
    dz_i.mul_(g * 2 - 1)
    dz_f.mul_(c_before)
    dz_g.mul_(i).mul_(2)
    dz_o.mul_(tanh_c)
    slope = torch.addcmul(o, o, tanh_c.mul_(tanh_c), value=-1)  # of h by c
    back = U.t()
    dh_t, dc_t = dh, dc
    columns = [dz, dz[:, : 3 * H].unflatten(1, (3, H)), dz_o, f, slope, *([] if dy is None else [dy])]
    for dz_t, of_c, of_h, f_t, slope_t, *dy_t in steps(sizes, from_end, *columns):
        if len(dz_t) != len(dh_t):
            dh_t, dc_t = dh[: len(dz_t)], dc[: len(dz_t)]
        if dy_t:
            dh_t.add_(dy_t[0])
        dc_t.addcmul_(dh_t, slope_t)
        of_c.mul_(dc_t.unsqueeze(1))
        of_h.mul_(dh_t)
        dc_t.mul_(f_t)
        torch.mm(dz_t, back, out=dh_t)
    return dz


def rnn_forward(z, U, h, y, sizes, from_end, mode):
    """Steps of an Elman RNN: z (R, H) holds x W + b, y (R, H) gets the states."""
    minus_one, h_t = z.new_tensor(-1.0), h
    for z_t, y_t in steps(sizes, from_end, z, y):
        if len(z_t) != len(h_t):
            h_t = h[: len(z_t)]
        z_t.addmm_(h_t, U)
        if mode == "RNN_TANH":
            torch.add(minus_one, z_t.sigmoid_(), alpha=2, out=h_t)
        else:
            torch.clamp_min(z_t, 0, out=h_t)
        y_t.copy_(h_t)


def rnn_backward(y, U, dy, dh, sizes, from_end, mode):
    """The same from the end: dz (R, H)."""
    dz = (1 - y * y).div_(2) if mode == "RNN_TANH" else (y > 0).to(y.dtype)
    back, dh_t = U.t(), dh
    for dz_t, *dy_t in steps(sizes, from_end, dz, *([] if dy is None else [dy])):
        if len(dz_t) != len(dh_t):
            dh_t = dh[: len(dz_t)]
        if dy_t:
            dh_t.add_(dy_t[0])
        torch.mm(dz_t.mul_(dh_t), back, out=dh_t)
    return dz


def taken(x, places, rows: slice):
    """These rows of x (N, I), or of the padded batch x (T*B, I) where their ``places`` are given."""
    return x[rows] if places is None else x.index_select(0, places[rows])


def chunks(group: Group, from_end: bool, width: int) -> Iterator[tuple[slice, list[int]]]:
    """Rows of successive whole steps, at most ``CHUNK`` numbers at this width, and the sizes of those steps."""
    found, sizes, start, stop = [], [], group.rows.start, group.rows.start
    for size in group.sizes:
        if sizes and (stop + size - start) * width > CHUNK:
            found.append((slice(start, stop), sizes))
            sizes, start = [], stop
        sizes.append(size)
        stop += size
    found.append((slice(start, stop), sizes))
    return reversed(found) if from_end else iter(found)


def steps(sizes: list[int], from_end: bool, *columns: torch.Tensor):
    """The rows of each step, of every one of ``columns``."""
    found = list(zip(*(column.split(sizes) for column in columns), strict=True))
    return reversed(found) if from_end else found


@functools.cache
def threads(n: int) -> ThreadPoolExecutor:
    """Threads that stay, each with the caches of the libraries below torch."""
    return ThreadPoolExecutor(n)


def spread(work: Callable, items: list[tuple]) -> list:
    """Call ``work(*item)`` for each item on as many threads as torch may use; torch itself takes one for each."""
    n, inference = torch.get_num_threads(), torch.is_inference_mode_enabled()

    def alone(item):
        torch.set_num_threads(1)
        with torch.inference_mode(inference), torch.no_grad():  # both are a thread's own
            return work(*item)

    try:
        return list((threads(n).map if n > 1 and len(items) > 1 else map)(alone, items))
    finally:
        torch.set_num_threads(n)


@functools.cache
def c_library():
    """glibc, or None on other systems."""
    with contextlib.suppress(OSError, AttributeError, TypeError):
        library = ctypes.CDLL(None)
        library.gnu_get_libc_version  # noqa: B018 - raises where this is another library
        return library
    return None


def keep_freed_memory(keep: bool = True) -> None:
    """Let the process keep the memory it frees (glibc), or give large blocks back at once as glibc does.

    Fresh memory from the system costs ten times as much as writing to it: every page of it is cleared first.
    """
    if c_library():
        trim, top, most = (2**31 - 1, 2**26, 0) if keep else (2**17, 2**17, 2**16)
        for option, value in ((-1, trim), (-2, top), (-4, most)):  # M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX
            c_library().mallopt(option, value)
