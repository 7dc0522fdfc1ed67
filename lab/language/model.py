"""The language model: embedding -> RNN or LSTM -> softmax over the vocabulary; and what it writes."""

from __future__ import annotations

import re

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from lab.config import LanguageConfig
from lab.data.reviews import EOS_ID
from lab.errors import LabError

SAMPLES = ((0.7, 40), (1.0, 40), (1.0, 0))  # temperature and top-k of the texts in a result file
SAMPLE_LENGTH = 60  # tokens


class ClassSoftmax(nn.Module):
    """Softmax over a large vocabulary in two steps: frequent word or class of rarer words, then the word of the class.

    Adaptive softmax (Grave et al. 2017), the probabilities of all words still adding up to exactly 1. Unlike in
    ``nn.AdaptiveLogSoftmaxWithLoss`` each word has a row of full width, so that the rows can be the embedding's.
    """

    def __init__(self, weight: nn.Parameter, cutoffs: list[int]):
        """weight: (V, E), row v for word v, by falling frequency; ``cutoffs``: where each class begins."""
        super().__init__()
        self.weight = weight
        self.bias = nn.Parameter(torch.zeros(len(weight)))
        self.classes = nn.Parameter(torch.empty(len(cutoffs), weight.shape[1]).normal_(0, 0.1))  # (C, E)
        self.class_bias = nn.Parameter(torch.zeros(len(cutoffs)))
        self.cutoffs = [*cutoffs, len(weight)]

    def forward(self, features: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """features (N, E), targets (N,) -> ln P of each target (N,)."""
        choice = targets
        members = []
        for place, (low, high) in enumerate(self._spans()):
            inside = (low <= targets) & (targets < high)
            choice = torch.where(inside, self.cutoffs[0] + place, choice)
            members.append(inside.nonzero().squeeze(1))
        first, *classes = self._parts()
        result = _log_softmax(features, first).gather(1, choice[:, None]).squeeze(1)
        for (low, _), rows, part in zip(self._spans(), members, classes, strict=True):
            if len(rows):
                within = _log_softmax(features[rows], part).gather(1, (targets[rows] - low)[:, None]).squeeze(1)
                result = result.index_add(0, rows, within)
        return result

    def distribution(self, features: torch.Tensor) -> torch.Tensor:
        """features (N, E) -> ln P of every word (N, V)."""
        first, *classes = (_log_softmax(features, part) for part in self._parts())
        words, chosen = first.tensor_split([self.cutoffs[0]], 1)
        return torch.cat([words, *(chosen[:, [place]] + within for place, within in enumerate(classes))], 1)

    def _spans(self) -> list[tuple[int, int]]:
        return list(zip(self.cutoffs[:-1], self.cutoffs[1:], strict=True))

    def _parts(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Weight and bias of the first step (frequent words, then classes), then of each class.

        The rows are split once: each slice taken by itself would have a gradient as large as the whole table.
        """
        sizes = [self.cutoffs[0], *(high - low for low, high in self._spans())]
        weights, biases = self.weight.split(sizes), self.bias.split(sizes)
        first = torch.cat([weights[0], self.classes]), torch.cat([biases[0], self.class_bias])
        return [first, *zip(weights[1:], biases[1:], strict=True)]


def _log_softmax(features: torch.Tensor, part: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    return F.linear(features, *part).log_softmax(1)


class LanguageModel(nn.Module):
    """Embedding -> RNN or LSTM -> projection to the embedding's width -> softmax over the vocabulary.

    A bidirectional one has a second RNN or LSTM that predicts from right to left; all else serves both (Peters et al. 2018).
    """

    def __init__(self, vocab_size, embedding_dim, hidden_dim, n_layers, dropout, base, tied, bidirectional=False):
        super().__init__()
        layer = {"RNN": nn.RNN, "LSTM": nn.LSTM}[base]
        sizes = dict(num_layers=n_layers, dropout=dropout if n_layers > 1 else 0.0)
        self.embedding = nn.Embedding(vocab_size, embedding_dim, padding_idx=0)
        self.rnn = layer(embedding_dim, hidden_dim, **sizes)
        self.reverse = layer(embedding_dim, hidden_dim, **sizes) if bidirectional else None
        self.projection = nn.Linear(hidden_dim, embedding_dim)
        self.dropout = nn.Dropout(dropout)
        rows = self.embedding.weight if tied else nn.Parameter(torch.empty(vocab_size, embedding_dim).normal_(0, 0.1))
        self.softmax = ClassSoftmax(rows, cutoffs(vocab_size))

    def forward(self, tokens: torch.Tensor, state=None, reverse: bool = False):
        """tokens (T, B) int64 and the state before them -> features of the next words (T, B, E), state after them.

        For the ``reverse`` direction the tokens come from right to left.
        """
        x = self.dropout(self.embedding(tokens))  # (T, B, E)
        outputs, state = (self.reverse if reverse else self.rnn)(x, state)  # (T, B, H)
        return self.projection(self.dropout(outputs)), state


def cutoffs(vocab_size: int) -> list[int]:
    """Where the classes of rarer words begin. A short first part is quick: 2 % of the words are 73 % of the text."""
    shares = (0.02, 0.05, 0.125, 0.25, 0.5) if vocab_size >= 1000 else (0.5,)
    return [int(share * vocab_size) for share in shares]


def build(config: LanguageConfig, table: np.ndarray) -> LanguageModel:
    """Make the model of ``config``, its embedding initialised by ``table`` (V, E)."""
    model = LanguageModel(
        len(table),
        config.EMBEDDING_DIM,
        config.HIDDEN_DIM,
        config.N_LAYERS,
        config.DROPOUT,
        config.MODEL_BASE,
        config.TIED,
        config.BIDIRECTIONAL,
    )
    with torch.no_grad():
        model.embedding.weight.copy_(torch.from_numpy(table))
    return model


# Writing


@torch.no_grad()
def generate(
    model: LanguageModel,
    vocabulary: list[str],
    beginning: str = "",
    temperature: float = 1.0,
    top_k: int = 0,
    length: int = SAMPLE_LENGTH,
    seed: int = 0,
) -> str:
    """Let the model write a review on from ``beginning``, at most ``length`` tokens, each drawn at random.

    A temperature below 1 prefers what is likely, one above 1 evens out; ``top_k`` words at most are drawn from, all of
    them where it is 0. <unk> and <pad> are never drawn, and EOS_ID closes the text.
    """
    if not 0 < temperature <= 100:
        raise LabError(f"参数TEMPERATURE的值{temperature!r}不可用：允许大于0、不超过100的小数。")
    if top_k < 0:
        raise LabError(f"参数TOP_K的值{top_k!r}不可用：允许0（不限）或正整数。")
    words = []
    if beginning.strip():
        from lab.data.text import tokenize

        words = tokenize(beginning)
    number = {word: place for place, word in enumerate(vocabulary)}
    model.eval()
    random = torch.Generator().manual_seed(seed)
    tokens, state = torch.tensor([[EOS_ID], *([number.get(word, 1)] for word in words)]), None  # (T, 1)
    for _ in range(length):
        features, state = model(tokens.to(model.projection.weight.device), state)
        logits = model.softmax.distribution(features[-1]).squeeze(0).double().cpu() / temperature  # (V,)
        logits[:2] = -torch.inf
        if top_k:
            logits[logits < logits.topk(min(top_k, len(logits) - 2)).values[-1]] = -torch.inf
        token = torch.multinomial(logits.softmax(0), 1, generator=random)
        if token == EOS_ID:
            break
        words.append(vocabulary[token])
        tokens = token[None]
    return as_text(words)


def as_text(words: list[str]) -> str:
    """Tokens as a reader expects them: no blank before a full stop or in "doesn't"."""
    text = re.sub(r" (?=[.,!?;:)\]%]|n't\b|'\w)", "", " ".join(words))
    return re.sub(r"(?<=[(\[$#]) ", "", text)
