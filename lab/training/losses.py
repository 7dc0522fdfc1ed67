"""What a step of the classifier lowers: the loss of the labelled reviews and, if asked for, adversarial losses."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F

from lab.config import Config
from lab.data.reviews import Batch


def goals(batch: Batch, others: Iterator[Batch], config: Config) -> list[tuple[Batch, Callable]]:
    """The batch with its losses and, with ``VIRTUAL``, the next of ``others``, unlabelled, with its own."""
    found = [(batch, functools.partial(labelled_losses, norm=config.ADVERSARIAL))]
    if config.VIRTUAL:
        found.append((next(others), functools.partial(unlabelled_losses, norm=config.VIRTUAL)))
    return found


def loss_sum(model, batch: Batch, change=None) -> torch.Tensor:
    """Binary cross-entropy of a batch in nats, summed over its reviews; ``change`` as in the model's ``forward``."""
    logits = model(batch.tokens, batch.lengths, change)  # (B,)
    return F.binary_cross_entropy_with_logits(logits, batch.labels, reduction="sum")


def labelled_losses(model, batch: Batch, norm: float = 0.0) -> Iterator[torch.Tensor]:
    """The loss of a batch and, with a ``norm``, once more after the most harmful change (Miyato et al. 2017).

    The change of a review's vectors, ``norm`` long in all, goes along the gradient of the first loss, which the caller
    has to take (``backward``) before asking for the second. To the model's weights the change is a constant.
    """
    if not norm:
        yield loss_sum(model, batch)
        return
    change = no_change(model, batch)
    yield loss_sum(model, batch, change)
    yield loss_sum(model, batch, scaled(change.grad, norm))


def unlabelled_losses(model, batch: Batch, norm: float) -> Iterator[torch.Tensor]:
    """How far the judgement of a batch moves by the most harmful change, which needs no label (Miyato et al. 2017).

    Cross-entropy in nats, summed, between the probabilities before and after; to the model's weights the former and the
    change are constants, so its gradient is that of the Kullback-Leibler divergence. The second derivative of the
    divergence is p(1 - p) g g' with the logit's gradient g: the change goes along g, which for more than two classes takes
    power iteration, and towards the other class. Both judgements are without dropout.
    """
    model.eval()
    change = no_change(model, batch)
    logits = model(batch.tokens, batch.lengths, change)  # (B,)
    (g,) = torch.autograd.grad(logits.sum(), change)
    logits = logits.detach()
    after = model(batch.tokens, batch.lengths, scaled(-logits.sign()[:, None] * g, norm))
    model.train()
    yield F.binary_cross_entropy_with_logits(after, torch.sigmoid(logits), reduction="sum")


def no_change(model, batch: Batch) -> torch.Tensor:
    """Zeros (T, B, E) to be added to the words' vectors, whose gradient is asked for."""
    return model.embedding.weight.new_zeros(*batch.tokens.shape, model.embedding.embedding_dim).requires_grad_()


def scaled(change: torch.Tensor, norm: float) -> torch.Tensor:
    """A change (T, B, E) of the words' vectors, for each review made ``norm`` long in all."""
    return norm * change / change.norm(dim=(0, 2), keepdim=True).clamp_min(1e-30)
