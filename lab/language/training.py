"""Training and evaluation of the language model.

The reviews form one stream, each closed by the token EOS_ID. Training reads it as B parallel streams in pieces of
``BPTT_LEN`` steps and hands the state from piece to piece (truncated BPTT; lab sheet, 'BPTT'). Held-out reviews are
read one by one, each from the zero state and EOS_ID: what a review scores does not depend on its neighbours.
"""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from lab.config import LanguageConfig
from lab.data.reviews import EOS_ID, LanguageText, Reviews, make_batch
from lab.errors import LabError
from lab.language.model import LanguageModel
from lab.progress import bar

CHECKPOINTS = 20  # evaluations and checkpoints of a run
PROBE = 250  # validation reviews that are read each time; all of them at the end
EVAL_BATCH = 64


# The stream


def batchify(tokens: np.ndarray, batch_size: int) -> torch.Tensor:
    """Lay a stream (N,) out as parallel streams (L, B), one below the other; what does not fill a row is left out."""
    length = len(tokens) // batch_size
    return torch.from_numpy(tokens[: length * batch_size].reshape(batch_size, length).T.astype(np.int64))


def get_batch(stream: torch.Tensor, step: int, length: int) -> tuple[torch.Tensor, torch.Tensor, bool]:
    """Inputs and targets (T, B) of a step, and whether it is the first of a pass; after the last pass comes the first."""
    place = step % steps_per_pass(stream, length)
    start = place * length
    return stream[start : start + length], stream[start + 1 : start + length + 1], place == 0


def steps_per_pass(stream: torch.Tensor, length: int) -> int:
    """Whole pieces that fit into the stream (L, B), whose last row can only be a target."""
    return (len(stream) - 1) // length


def n_steps(config: LanguageConfig, stream: torch.Tensor) -> int:
    """Steps that the budget allows; ``LabError`` where the text is too short for a single one."""
    per_pass = steps_per_pass(stream, config.BPTT_LEN)
    if per_pass < 1:
        raise LabError(
            f"训练文本太短：分成BATCH_SIZE={config.BATCH_SIZE}路后每路只有{len(stream)}个词元，"
            f"不够走BPTT_LEN={config.BPTT_LEN}步。请减小BATCH_SIZE或BPTT_LEN。"
        )
    return min(config.MAX_TOKENS // (config.BATCH_SIZE * config.BPTT_LEN), config.N_EPOCHS * per_pass)


# Training


def fit(model: LanguageModel, optimizer, text: LanguageText, config: LanguageConfig, history: list, states, checkpoint):
    """Train for the stages that ``history`` lacks, ``CHECKPOINTS`` of them in all, each ended by a look at validation.

    ``history`` gains a dictionary a stage; ``states`` are those of each direction after the last one, none at the start;
    ``checkpoint(states)`` is called after each stage.
    """
    stream = batchify(text.train.tokens, config.BATCH_SIZE)  # (L, B)
    streams = [stream, stream.flip(0)] if config.BIDIRECTIONAL else [stream]  # read from the left, from the right
    steps, tokens = n_steps(config, stream), config.BATCH_SIZE * config.BPTT_LEN  # tokens: of a step
    stages = np.linspace(0, steps, min(CHECKPOINTS, steps) + 1).astype(int)
    probe = np.linspace(0, text.valid.n - 1, min(PROBE, text.valid.n)).astype(int)
    done = int(stages[len(history)]) * tokens
    shown = dict(desc=config.run_id, unit="词元", unit_scale=True)
    with bar(total=steps * tokens, initial=done, history=history, **shown) as read:
        for stage in range(len(history), len(stages) - 1):
            started = time.perf_counter()
            torch.manual_seed(config.SEED * 1000 + stage)  # dropout as in an undisturbed run
            span = range(stages[stage], stages[stage + 1])
            train_loss, states = train_steps(model, optimizer, streams, span, steps, states, config, read)
            valid_loss = float(losses(model, text.valid, probe).mean())
            history.append(
                dict(
                    tokens=int(stages[stage + 1]) * tokens,
                    train_loss=train_loss,
                    valid_loss=valid_loss,
                    seconds=time.perf_counter() - started,
                )
            )
            read.set_postfix_str(f"验证困惑度{perplexity(valid_loss):.1f}")
            checkpoint(states)


def train_steps(model, optimizer, streams, span: range, steps: int, states, config: LanguageConfig, read):
    """Train on the pieces ``span`` of each direction's stream; returns mean loss (nats per token) and states after them."""
    model.train()
    device = model.projection.weight.device
    total, states = 0.0, states or [None] * len(streams)
    for step in span:
        for group in optimizer.param_groups:
            group["lr"] = config.LEARNING_RATE * (1 - step / steps)  # down to 0 at the end of the budget
        optimizer.zero_grad()
        for way, stream in enumerate(streams):
            inputs, targets, first = get_batch(stream, step, config.BPTT_LEN)  # (T, B)
            features, state = model(inputs.to(device), None if first else pack(model, states[way]), reverse=way == 1)
            states[way] = detach_state(state)
            loss = -model.softmax(features.flatten(0, 1), targets.flatten().to(device)).mean() / len(streams)
            loss.backward()
            total += loss.item()
        if config.GRAD_CLIP:
            nn.utils.clip_grad_norm_(model.parameters(), config.GRAD_CLIP)
        optimizer.step()
        if not np.isfinite(total):
            raise LabError(f"第{step + 1}步的训练损失出现NaN或Inf，训练发散了。请减小LEARNING_RATE，或设GRAD_CLIP=1。")
        read.update(inputs.numel())
    return total / len(span), states


def detach_state(state) -> tuple[torch.Tensor, ...]:
    """The state's tensors, (h,) or (h, c), detached: gradients of the next piece end here."""
    return tuple(part.detach() for part in (state if isinstance(state, tuple) else (state,)))


def pack(model: LanguageModel, state: tuple[torch.Tensor, ...]):
    """The state as ``torch.nn`` wants it: (h, c) for LSTM, h alone for RNN."""
    return state if model.rnn.mode == "LSTM" else state[0]


# Perplexity


@torch.no_grad()
def losses(model: LanguageModel, reviews: Reviews, places=None, progress=False, reverse=False) -> np.ndarray:
    """-ln P of every token of the reviews ``places`` (all by default) in nats, one review after the other, (N,).

    Each review is read from the zero state and the mark EOS_ID; its own EOS_ID counts as a token. For the ``reverse``
    direction the reviews are to be ``mirrored``.
    """
    model.eval()
    device = model.projection.weight.device
    places = np.arange(reviews.n) if places is None else places
    order = places[np.argsort(reviews.lengths[places], kind="stable")]
    found = {}
    for at in bar(range(0, len(order), EVAL_BATCH), desc="验证", unit="批", leave=False, disable=not progress):
        batch = make_batch(reviews, order[at : at + EVAL_BATCH])
        targets = batch.tokens.to(device)  # (T, B)
        features, _ = model(torch.cat([torch.full_like(targets[:1], EOS_ID), targets[:-1]]), reverse=reverse)
        for column, (place, length) in enumerate(zip(batch.index, batch.lengths, strict=True)):
            own = slice(0, int(length)), column
            found[place] = -model.softmax(features[own], targets[own]).cpu().numpy()
    return np.concatenate([found[place] for place in places]).astype(np.float64)


def mirrored(reviews: Reviews) -> Reviews:
    """The reviews from right to left, the mark EOS_ID still at the end of each."""
    tokens = [np.append(reviews[place][-2::-1], EOS_ID) for place in range(reviews.n)]
    return replace(reviews, tokens=np.concatenate(tokens).astype(np.int32))


def perplexity(loss: np.ndarray | float) -> float:
    """exp of the mean loss (nats per token): among how many equally likely words the model was choosing."""
    return float(np.exp(np.mean(loss)))
