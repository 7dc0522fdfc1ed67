"""Made-up result files whose truth is worked by hand."""

import numpy as np

from lab import record
from lab.config import Config

N = 2000
LABELS = np.arange(N) % 2
LENGTHS = np.resize([50, 100, 250, 1500], N)
LOSSES = [(0.6, 0.5, 1.0), (0.4, 0.4, 2.0), (0.5, 0.6, 40.0), (0.2, 0.7, 3.0)]  # train, valid, largest norm


def run(accuracy: float, wrong_from: int = 0, **settings) -> dict:
    """The result file of a model that is wrong on a block of reviews, which starts at ``wrong_from``."""
    config = Config(**settings)
    right = np.ones(N, dtype=bool)
    right[wrong_from : wrong_from + round((1 - accuracy) * N)] = False
    probability = np.where(right, 0.9, 0.1) * LABELS + np.where(right, 0.1, 0.9) * (1 - LABELS)
    return dict(
        kind="classifier",
        run_id=config.run_id,
        config=config.as_dict(),
        data=dict(
            fingerprint=f"f{config.SEED}",
            vectors=dict(
                name=config.VECTORS if config.VECTORS == "random" else f"{config.VECTORS}.{config.EMBEDDING_DIM}d",
                words=7,
                complete=False,
                covered_words=0.5,
                covered_tokens=0.75,
            ),
        ),
        history=[
            dict(epoch=at, train_loss=a, valid_loss=b, grad_norm=norm / 2, grad_norm_max=norm)
            for at, (a, b, norm) in enumerate(LOSSES, 1)
        ],
        best_epoch=2,
        valid=dict(loss=1 - accuracy, accuracy=accuracy + 0.01),
        test=record.tested(dict(loss=1 - accuracy, accuracy=float(right.mean()), right=right, probability=probability)),
        seconds=60.0,
    )


def pretrained(accuracy: float, seed: int) -> dict:
    """An LSTM 1-1 that started from a language model."""
    return run(accuracy, MODEL_BASE="LSTM", SEED=seed, PRETRAINED=f"lm-lstm-1x1-100d-s{seed}")


def some() -> list[dict]:
    """RNN 1-1 at two seeds, well below the reference; LSTM 1-1 above it; a clipped RNN and a control."""
    return [
        run(0.70),
        run(0.72, SEED=2078),
        run(0.86, MODEL_BASE="LSTM"),
        run(0.78, GRAD_CLIP=1.0),
        run(0.80, VECTORS="random", MODEL_BASE="LSTM"),
    ]
