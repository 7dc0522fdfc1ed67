"""A batch in parts that fit into a laptop's memory: the gradients of the parts add up to that of the batch."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import torch

from lab.data.reviews import Batch
from lab.engine import process

ROOM = 2**25  # numbers (inputs and gates of all layers) of a part: about 1 GB with all that autograd keeps
TRIM = 32  # batches after which freed memory goes back to the system
_batches = itertools.count(1)


def micro_batches(model, batch: Batch) -> Iterator[Batch]:
    """Cut a batch, shortest reviews first, into parts that fit into memory, each on the model's device."""
    weights = [w_ih for w_ih, *_ in model.rnn.all_weights]  # (G*H, I) of each layer and direction
    for part in cut(batch, ROOM // sum(sum(w_ih.shape) for w_ih in weights)):
        yield part.to(weights[0].device)


def cut(batch: Batch, most: int) -> Iterator[Batch]:
    """Parts of at most ``most`` tokens, padding not counted, or of a single review."""
    order = torch.argsort(batch.lengths, stable=True)
    start, tokens = 0, 0
    for place, length in enumerate(batch.lengths[order].tolist()):
        if tokens and tokens + length > most:
            yield _part(batch, order[start:place])
            start, tokens = place, 0
        tokens += length
    yield _part(batch, order[start:])


def _part(batch: Batch, places: torch.Tensor) -> Batch:
    lengths = batch.lengths[places]
    return Batch(batch.tokens[: lengths.max(), places], lengths, batch.labels[places], batch.index[places.numpy()])


def backward(model, *goals: tuple[Batch, Callable]) -> float:
    """Put the gradient of the goals' mean losses into ``model``; returns the first loss.

    A goal is a batch and ``losses``; ``losses(model, part)`` are one loss or several, each summed over the reviews of a part.
    One is differentiated before the next is asked for; their gradients add up. The embedding's gradient is sparse for a
    part (``nn.Embedding(sparse=True)``) and dense for the step, as plain Adam needs it.
    """
    words = model.embedding.weight
    # One buffer for all steps: reallocation would fragment the heap.
    dense = torch.zeros_like(words) if words.grad is None else words.grad.zero_()
    model.zero_grad()
    total = 0.0
    for goal, (batch, losses) in enumerate(goals):
        for part in micro_batches(model, batch):
            for place, loss in enumerate(losses(model, part)):
                loss = loss / len(batch.index)
                loss.backward()
                if goal == place == 0:
                    total += loss.item()
            dense += words.grad
            words.grad = None
    words.grad = dense
    if next(_batches) % TRIM == 0:
        process.give_back_memory()
    return total
