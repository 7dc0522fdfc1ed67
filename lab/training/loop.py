"""The classifier's training loop: an epoch over the training part, an evaluation, and the epoch that is kept."""

from __future__ import annotations

import math
import os
import random
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F

from lab.config import Config, Parameters
from lab.data.reviews import Dataset, Reviews, batches, endless
from lab.engine.micro_batches import backward, micro_batches
from lab.errors import LabError
from lab.progress import bar
from lab.training.losses import goals

EVAL_BATCH = 128


def fit(model, optimizer, dataset: Dataset, config: Config, history: list, best: dict, after_epoch: Callable) -> dict:
    """Train for the epochs that ``history`` lacks; returns the weights of the epoch with the lowest validation loss.

    ``history`` gains a dictionary an epoch; ``best`` are the weights so far; ``after_epoch(best)`` is called each time.
    """
    epochs = range(len(history) + 1, config.N_EPOCHS + 1)
    shown = dict(desc=config.run_id, unit="轮", initial=len(history), total=config.N_EPOCHS)
    for epoch in bar(epochs, history=history, **shown):
        started = time.perf_counter()
        train_loss, norms = train_epoch(model, optimizer, dataset.train, config, epoch, dataset.unlabelled)
        valid = evaluate(model, dataset.valid, "验证")
        history.append(
            dict(
                epoch=epoch,
                train_loss=train_loss,
                valid_loss=valid["loss"],
                valid_accuracy=valid["accuracy"],
                grad_norm=statistics.median(norms),
                grad_norm_max=max(norms),
                seconds=time.perf_counter() - started,
            )
        )
        if all(valid["loss"] < past["valid_loss"] for past in history[:-1]):  # the first of equal ones
            best = {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}
        after_epoch(best)
    return best


def train_epoch(
    model, optimizer, reviews: Reviews, config: Config, epoch: int, unlabelled=None
) -> tuple[float, list[float]]:
    """Go once through the training reviews; returns the mean loss (nats per review) and each step's gradient norm.

    With ``VIRTUAL`` each step reads as many ``unlabelled`` reviews beside them. The norm is that of all parameters
    together, before clipping. Raises ``LabError`` where training diverges.
    """
    model.train()
    torch.manual_seed(config.SEED * 1000 + epoch)  # order and dropout depend on the epoch alone
    total, norms = 0.0, []
    steps = math.ceil(reviews.n / config.BATCH_SIZE)  # of an epoch
    others = endless(unlabelled, config.BATCH_SIZE, [config.SEED, epoch])
    with bar(total=reviews.n, desc=f"第{epoch}轮", unit="篇", leave=False) as done:
        for batch in batches(reviews, config.BATCH_SIZE, [config.SEED, epoch]):
            if config.LR_DECAY:
                left = 1 - (epoch - 1 + len(norms) / steps) / config.N_EPOCHS
                optimizer.param_groups[0]["lr"] = config.LEARNING_RATE * left
            # loss.backward() of the batch's mean loss, a part at a time
            loss = backward(model, *goals(batch, others, config))
            limit = config.GRAD_CLIP or float("inf")  # then the norm is only measured
            norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), limit).item())
            if not np.isfinite(loss + norms[-1]):
                raise LabError(
                    f"第{epoch}轮的训练损失或梯度出现NaN或Inf，训练发散了。请减小LEARNING_RATE，或设GRAD_CLIP=1。"
                )
            optimizer.step()
            total += loss * len(batch.index)
            done.update(len(batch.index))
    return total / reviews.n, norms


@torch.no_grad()
def evaluate(model, reviews: Reviews, label: str = "评估") -> dict:
    """Loss, accuracy, and for each review (N,) the probability of 'positive' and whether it was judged rightly."""
    model.eval()
    logits = torch.empty(reviews.n)
    with bar(total=reviews.n, desc=label, unit="篇", leave=False) as done:
        for batch in batches(reviews, EVAL_BATCH):
            for part in micro_batches(model, batch):
                logits[part.index] = model(part.tokens, part.lengths).cpu()
            done.update(len(batch.index))
    labels = torch.from_numpy(reviews.labels.astype(np.float32))
    loss = F.binary_cross_entropy_with_logits(logits.double(), labels.double()).item()
    right = ((logits > 0) == (labels > 0)).numpy()
    return dict(loss=loss, accuracy=float(right.mean()), right=right, probability=torch.sigmoid(logits).numpy())


def pick_device(config: Parameters) -> torch.device:
    """The device of the run; ``LabError`` where CUDA is asked for and absent."""
    if config.DEVICE == "cuda" and not torch.cuda.is_available():
        raise LabError("参数DEVICE的值'cuda'不可用：这台机器没有可用的CUDA设备。请改用auto或cpu。")
    name = config.DEVICE if config.DEVICE != "auto" else ("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and PyTorch and ask cuDNN and cuBLAS for repeatable results (lab sheet, ``SEED``)."""
    os.environ["PYTHONHASHSEED"] = str(seed)
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - the lab sheet asks for the global generator too
    torch.manual_seed(seed)
    torch.cuda.manual_seed_all(seed)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
