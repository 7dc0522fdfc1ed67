"""The sentiment classifier: embedding -> RNN or LSTM -> last layer's final state -> one logit."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from lab import recurrent
from lab.config import Config


class SentimentClassifier(nn.Module):
    """Recurrent classifier of token sequences; padding never reaches a result (lab sheet, 'Model')."""

    def __init__(self, vocab_size, embedding_dim, hidden_dim, n_layers, bidirectional, dropout, base):
        super().__init__()
        layer = {"RNN": nn.RNN, "LSTM": nn.LSTM}[base]
        # The gradient of a portion of a batch touches few rows; train.take_gradient adds the micro_batches up.
        self.embedding = nn.Embedding(vocab_size, embedding_dim, padding_idx=0, sparse=True)
        self.rnn = layer(
            embedding_dim,
            hidden_dim,
            num_layers=n_layers,
            bidirectional=bidirectional,
            dropout=dropout if n_layers > 1 else 0.0,  # torch warns of a dropout that has no place between layers
        )
        self.head = nn.Linear(hidden_dim * (2 if bidirectional else 1), 1)

    def forward(self, tokens: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """tokens (T, B) int64, lengths (B,) int64 -> logits (B,)."""
        _, state = recurrent.run(self.rnn, tokens, lengths, embedding=self.embedding, final_only=True)
        h_n = state[0] if isinstance(state, tuple) else state  # (L*D, B, H)
        last = h_n[-2:] if self.rnn.bidirectional else h_n[-1:]  # last layer: (D, B, H)
        return self.head(torch.cat(list(last), dim=1)).squeeze(1)  # (B,)


def build(config: Config, table: np.ndarray) -> SentimentClassifier:
    """Make the classifier of ``config`` with its embedding initialised by ``table`` (V, E), fine-tuned later."""
    model = SentimentClassifier(
        len(table),
        config.EMBEDDING_DIM,
        config.HIDDEN_DIM,
        config.N_LAYERS,
        config.BIDIRECTIONAL,
        config.DROPOUT,
        config.MODEL_BASE,
    )
    with torch.no_grad():
        model.embedding.weight.copy_(torch.from_numpy(table))
    return model


@torch.no_grad()
def prefix_probabilities(model: SentimentClassifier, tokens: np.ndarray, batch_size: int = 128) -> np.ndarray:
    """Probability of 'positive' after each token of one review: tokens (T,) -> (T,).

    Every prefix is read as a review of its own, so that a bidirectional model is asked honestly too.
    """
    model.eval()
    device = model.head.weight.device
    lengths = torch.arange(1, len(tokens) + 1)
    column = torch.from_numpy(np.asarray(tokens, dtype=np.int64))[:, None]  # (T, 1)
    found = []
    for some in lengths.split(batch_size):
        prefixes = column[: some.max()].expand(-1, len(some)).to(device)  # the rest of each is padding by length
        found.append(torch.sigmoid(model(prefixes, some.to(device))).cpu())
    return torch.cat(found).numpy()
