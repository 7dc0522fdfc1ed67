"""The sentiment classifier: embedding -> RNN or LSTM -> one vector of the last layer's states -> one logit."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from lab.config import Config
from lab.engine import recurrent
from lab.errors import LabError


class SentimentClassifier(nn.Module):
    """Recurrent classifier of token sequences; padding never reaches a result (lab sheet, 'Model')."""

    def __init__(
        self,
        vocab_size,
        embedding_dim,
        hidden_dim,
        n_layers,
        bidirectional,
        dropout,
        base,
        pooling="last",
        head_dropout=0.0,
    ):
        super().__init__()
        layer = {"RNN": nn.RNN, "LSTM": nn.LSTM}[base]
        self.embedding = nn.Embedding(vocab_size, embedding_dim, padding_idx=0, sparse=True)
        between = dropout if n_layers > 1 else 0.0  # torch warns of a dropout that has no place between layers
        self.rnn = layer(embedding_dim, hidden_dim, n_layers, bidirectional=bidirectional, dropout=between)
        self.pooling = pooling
        self.dropout = nn.Dropout(head_dropout)
        n_parts = 3 if pooling == "concat" else 1
        self.head = nn.Linear(n_parts * hidden_dim * (2 if bidirectional else 1), 1)

    def forward(self, tokens: torch.Tensor, lengths: torch.Tensor, change=None) -> torch.Tensor:
        """tokens (T, B) int64, lengths (B,) int64 -> logits (B,); ``change`` (T, B, E) is added to the words' vectors."""
        if change is None:
            v = self.pool(tokens, lengths, self.embedding)
        else:
            v = self.pool(self.embedding(tokens) + change, lengths)
        return self.head(self.dropout(v)).squeeze(1)  # (B,)

    def pool(self, x: torch.Tensor, lengths: torch.Tensor, embedding=None) -> torch.Tensor:
        """Vectors (T, B, E), or tokens (T, B) and their ``embedding`` -> one vector of each review's states (B, P*D*H)."""
        if self.pooling == "last":
            _, state = recurrent.run(self.rnn, x, lengths, embedding=embedding, final_only=True)
            return self.last(state)
        state, mean, most = recurrent.summaries(self.rnn, x, lengths, embedding)
        return mean if self.pooling == "mean" else torch.cat([self.last(state), mean, most], dim=1)

    def last(self, state) -> torch.Tensor:
        """The last layer's final state, both directions beside each other: h_n or (h_n, c_n) -> (B, D*H)."""
        h_n = state[0] if isinstance(state, tuple) else state  # (L*D, B, H)
        return torch.cat(list(h_n[-2:] if self.rnn.bidirectional else h_n[-1:]), dim=1)


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
        config.POOLING,
        config.HEAD_DROPOUT,
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


def encode_text(vocabulary: list[str], text: str) -> tuple[list[str], np.ndarray]:
    """Tokens of a text and their numbers (T,); ``LabError`` where none of them is known to the model."""
    from lab.data.text import tokenize

    number = {word: place for place, word in enumerate(vocabulary)}
    words = tokenize(text)
    if not words:
        raise LabError('文本是空的。请给出一段英文影评，例如：uv run lab predict "A wonderful film."')
    tokens = np.array([number.get(word, 1) for word in words])
    if (tokens == 1).all():
        raise LabError(f"文本里没有一个词在词表中（{'、'.join(words[:5])}），模型无从判断。请用英文影评。")
    return words, tokens


def predict(model, vocabulary: list[str], text: str) -> float:
    """Probability that ``text`` is positive."""
    _, tokens = encode_text(vocabulary, text)
    with torch.no_grad():
        return torch.sigmoid(model(torch.from_numpy(tokens)[:, None], torch.tensor([len(tokens)]))).item()
