"""Recurrence over a padded batch with lengths: what packed ``torch.nn`` gives, at a cost linear in the text.

On CUDA this is cuDNN's packed path. On a CPU the packed path of ``torch.nn`` lets time and memory grow with
the square of the length (pytorch/pytorch#149194), so the time loop is written out here.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


def run(rnn: nn.RNNBase, x: torch.Tensor, lengths: torch.Tensor, state=None):
    """Run ``rnn`` (``nn.RNN`` or ``nn.LSTM``, time first) over the first ``lengths[b]`` steps of each review.

    x: (T, B, I), whatever stands at padding is never read; lengths: (B,) int64, at least 1.
    Returns outputs (T, B, D*H), zero at padding, and final states (L*D, B, H): h_n, for LSTM (h_n, c_n).
    """
    if x.is_cuda or rnn.mode not in ("RNN_TANH", "RNN_RELU", "LSTM") or rnn.proj_size:
        return packed(rnn, x, lengths, state)
    return padded(rnn, x, lengths, state)


def packed(rnn: nn.RNNBase, x: torch.Tensor, lengths: torch.Tensor, state=None):
    """The path of ``torch.nn``: cuDNN on a GPU, the yardstick on a CPU."""
    sequence = pack_padded_sequence(x, lengths.cpu(), enforce_sorted=False)
    outputs, state = rnn(sequence, state)
    return pad_packed_sequence(outputs, total_length=len(x))[0], state


def padded(rnn: nn.RNNBase, x: torch.Tensor, lengths: torch.Tensor, state=None):
    """The same by a time loop over the padded batch; a finished review keeps its state."""
    T, B, _ = x.shape
    D = 2 if rnn.bidirectional else 1
    lstm = rnn.mode == "LSTM"
    steps = torch.arange(T)[:, None]
    padding = (steps >= lengths)[:, :, None]  # (T, B, 1)
    # Where the reverse direction reads its step t: each review mirrored about its own middle.
    mirror = torch.where(steps < lengths, lengths - 1 - steps, steps)[:, :, None]  # (T, B, 1)
    if state is None:
        zero = x.new_zeros(rnn.num_layers * D, B, rnn.hidden_size)
        state = (zero, zero) if lstm else zero
    h_0, c_0 = state if lstm else (state, state)
    h_n, c_n = [], []
    y = x.masked_fill(padding, 0)
    for layer in range(rnn.num_layers):
        if layer and rnn.dropout:
            y = F.dropout(y, rnn.dropout, rnn.training)
        directions = []
        for reverse in range(D):
            index = layer * D + reverse
            weights = rnn.all_weights[index]
            y_in = y.gather(0, mirror.expand_as(y)) if reverse else y
            h, h_last, c_last = loop(rnn.mode, y_in, padding, h_0[index], c_0[index], *weights)
            directions.append(h.gather(0, mirror.expand_as(h)) if reverse else h)
            h_n.append(h_last)
            c_n.append(c_last)
        y = torch.cat(directions, 2).masked_fill(padding, 0)
    h_n = torch.stack(h_n)
    return y, (h_n, torch.stack(c_n)) if lstm else h_n


def loop(mode, x, padding, h, c, w_ih, w_hh, b_ih=None, b_hh=None):
    """One layer, one direction: all states (T, B, H) and the last ones h, c (B, H)."""
    outputs = []
    for projected, finished in zip(F.linear(x, w_ih, b_ih).unbind(0), padding.unbind(0), strict=True):
        z = projected + F.linear(h, w_hh, b_hh)  # (B, H), for LSTM (B, 4H)
        if mode == "LSTM":
            i, f, g, o = z.chunk(4, 1)
            c_new = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h_new = o.sigmoid() * c_new.tanh()
            c = torch.where(finished, c, c_new)
        else:
            h_new = z.tanh() if mode == "RNN_TANH" else z.relu()
        h = torch.where(finished, h, h_new)
        outputs.append(h)
    return torch.stack(outputs), h, c
