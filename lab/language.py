"""The language model: which word comes next, read left to right by an RNN or LSTM; its training and what it writes.

The reviews form one stream, each closed by the mark EOS_ID. Training reads it as B parallel streams in pieces of
``BPTT_LEN`` steps and hands the state from piece to piece (truncated BPTT; lab sheet, 'BPTT'). Held-out reviews are
read one by one, each from the zero state and the mark EOS_ID: what a review scores does not depend on its neighbours.
"""

from __future__ import annotations

import base64
import json
import re
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn
from tqdm.auto import tqdm

from lab import files, optimizer, recurrent, statistics, train
from lab.config import LanguageConfig, from_dict
from lab.data import cache, vectors
from lab.data.reviews import EOS_ID, LanguageText, Reviews, make_batch
from lab.errors import LabError

MARKS = 20  # times that a run takes stock, and could be resumed from
PROBE = 250  # validation reviews that are read each time; all of them at the end
EVAL_BATCH = 64
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
    """Embedding -> RNN or LSTM -> projection to the embedding's width -> softmax over the vocabulary."""

    def __init__(self, vocab_size, embedding_dim, hidden_dim, n_layers, dropout, base, tied):
        super().__init__()
        layer = {"RNN": nn.RNN, "LSTM": nn.LSTM}[base]
        self.embedding = nn.Embedding(vocab_size, embedding_dim, padding_idx=0)
        self.rnn = layer(embedding_dim, hidden_dim, num_layers=n_layers, dropout=dropout if n_layers > 1 else 0.0)
        self.projection = nn.Linear(hidden_dim, embedding_dim)
        self.dropout = nn.Dropout(dropout)
        rows = self.embedding.weight if tied else nn.Parameter(torch.empty(vocab_size, embedding_dim).normal_(0, 0.1))
        self.softmax = ClassSoftmax(rows, cutoffs(vocab_size))

    def forward(self, tokens: torch.Tensor, state=None):
        """tokens (T, B) int64 and the state before them -> features of the next words (T, B, E), state after them."""
        x = self.dropout(self.embedding(tokens))  # (T, B, E)
        outputs, state = self.rnn(x, state)  # (T, B, H)
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
    )
    with torch.no_grad():
        model.embedding.weight.copy_(torch.from_numpy(table))
    return model


# The stream


def arrange(tokens: np.ndarray, batch_size: int) -> torch.Tensor:
    """Lay a stream (N,) out as parallel streams (L, B), one below the other; what does not fill a row is left out."""
    length = len(tokens) // batch_size
    return torch.from_numpy(tokens[: length * batch_size].reshape(batch_size, length).T.astype(np.int64))


def piece(stream: torch.Tensor, step: int, length: int) -> tuple[torch.Tensor, torch.Tensor, bool]:
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


def run(config: LanguageConfig) -> dict:
    """Train the language model of ``config`` and measure it on the validation reviews; returns its result file's content.

    Weights go to ``runs/``; a stopped run goes on from the last time that it took stock. Raises ``LabError`` for
    what the user can mend.
    """
    return train.exclusively(config, _run)


def _run(config: LanguageConfig, folder: Path, path: Path) -> dict:
    started = time.perf_counter()
    recurrent.tune_process()
    device = train.pick_device(config)
    train.seed_everything(config.SEED)
    text = cache.load_language(config)
    stream = arrange(text.train.tokens, config.BATCH_SIZE)  # (L, B)
    steps = n_steps(config, stream)
    table, vector_facts = vectors.load(config, text)
    model = build(config, table).to(device)
    adam = optimizer.Adam(model.parameters(), lr=config.LEARNING_RATE)

    stamp = json.dumps([train.SCHEMA, config.as_dict(), text.fingerprint])
    history, kept, spent = train.load_checkpoint(folder, stamp, model, adam)
    state = tuple(kept[name].to(device) for name in sorted(kept)) or None
    marks = np.linspace(0, steps, min(MARKS, steps) + 1).astype(int)
    probe = np.linspace(0, text.valid.n - 1, min(PROBE, text.valid.n)).astype(int)
    tokens_per_step = config.BATCH_SIZE * config.BPTT_LEN
    done = int(marks[len(history)]) * tokens_per_step
    with tqdm(total=steps * tokens_per_step, initial=done, desc=config.run_id, unit="词元", unit_scale=True) as bar:
        for mark in range(len(history), len(marks) - 1):
            at = time.perf_counter()
            torch.manual_seed(config.SEED * 1000 + mark)  # dropout as in an undisturbed run
            span = range(marks[mark], marks[mark + 1])
            train_loss, state = train_steps(model, adam, stream, span, steps, state, config, bar)
            valid_loss = float(losses(model, text.valid, probe).mean())
            history.append(
                dict(
                    tokens=int(marks[mark + 1]) * tokens_per_step,
                    train_loss=train_loss,
                    valid_loss=valid_loss,
                    seconds=time.perf_counter() - at,
                )
            )
            bar.set_postfix_str(f"验证困惑度{np.exp(valid_loss):.1f}")
            kept = {str(place): tensor for place, tensor in enumerate(state)}
            train.save_checkpoint(folder, stamp, model, adam, history, kept, spent + time.perf_counter() - started)

    found = losses(model, text.valid, progress=True)
    weights = {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}
    train.save_weights(folder, config, weights, text.vocabulary)
    result = dict(
        schema=train.SCHEMA,
        kind="language_model",
        run_id=config.run_id,
        config=config.as_dict(),
        data=describe_data(config, text) | dict(vectors=vector_facts),
        history=history,
        n_weights=sum(weight.numel() for weight in model.parameters()),
        valid=marks_of(text.valid, found),
        samples=[
            dict(temperature=temperature, top_k=top_k, text=write(model, text.vocabulary, "", temperature, top_k))
            for temperature, top_k in SAMPLES
        ],
        **train.describe_machine(device),
        seconds=spent + time.perf_counter() - started,
    )
    files.write_json(path, result)
    (folder / "checkpoint.safetensors").unlink(missing_ok=True)
    return result


def train_steps(model, adam, stream, span: range, steps: int, state, config: LanguageConfig, bar):
    """Train on the pieces ``span`` of the stream; returns the mean loss (nats per token) and the state after them."""
    model.train()
    device = model.projection.weight.device
    total = 0.0
    for step in span:
        for group in adam.param_groups:
            group["lr"] = config.LEARNING_RATE * (1 - step / steps)  # down to 0 at the end of the budget
        inputs, targets, first = piece(stream, step, config.BPTT_LEN)  # (T, B)
        features, state = model(inputs.to(device), None if first else pack(model, state))
        state = unpack(state)
        loss = -model.softmax(features.flatten(0, 1), targets.flatten().to(device)).mean()
        adam.zero_grad()
        loss.backward()
        if config.GRAD_CLIP:
            nn.utils.clip_grad_norm_(model.parameters(), config.GRAD_CLIP)
        adam.step()
        total += loss.item()
        if not np.isfinite(total):
            raise LabError(f"第{step + 1}步的训练损失不是有限的数，训练发散了。请减小LEARNING_RATE，或设GRAD_CLIP=1。")
        bar.update(inputs.numel())
    return total / len(span), state


def unpack(state) -> tuple[torch.Tensor, ...]:
    """The state's tensors, (h,) or (h, c), cut off from the steps that led to them: the end of the gradient's way."""
    return tuple(part.detach() for part in (state if isinstance(state, tuple) else (state,)))


def pack(model: LanguageModel, state: tuple[torch.Tensor, ...]):
    """The state as ``torch.nn`` wants it: (h, c) for LSTM, h alone for RNN."""
    return state if model.rnn.mode == "LSTM" else state[0]


# Perplexity


@torch.no_grad()
def losses(model: LanguageModel, reviews: Reviews, places=None, progress: bool = False) -> np.ndarray:
    """-ln P of every token of the reviews ``places`` (all by default) in nats, one review after the other, (N,).

    Each review is read from the zero state and the mark EOS_ID; its own EOS_ID counts as a token.
    """
    model.eval()
    device = model.projection.weight.device
    places = np.arange(reviews.n) if places is None else places
    order = places[np.argsort(reviews.lengths[places], kind="stable")]
    found = {}
    for at in tqdm(range(0, len(order), EVAL_BATCH), desc="验证", unit="批", leave=False, disable=not progress):
        batch = make_batch(reviews, order[at : at + EVAL_BATCH])
        targets = batch.tokens.to(device)  # (T, B)
        features, _ = model(torch.cat([torch.full_like(targets[:1], EOS_ID), targets[:-1]]))
        for column, (place, length) in enumerate(zip(batch.index, batch.lengths, strict=True)):
            own = slice(0, int(length)), column
            found[place] = -model.softmax(features[own], targets[own]).cpu().numpy()
    return np.concatenate([found[place] for place in places]).astype(np.float64)


def perplexity(loss: np.ndarray) -> float:
    """exp of the mean loss (nats per token): among how many equally likely words the model was choosing."""
    return float(np.exp(np.mean(loss)))


def marks_of(reviews: Reviews, loss: np.ndarray) -> dict:
    """What a result file keeps of the losses (N,) on all tokens of ``reviews``, <unk> counted."""
    return dict(
        loss=float(loss.mean()),
        perplexity=perplexity(loss),
        n_tokens=len(loss),
        unknown=float((reviews.tokens == 1).mean()),
        review_loss=base64.b64encode(np.add.reduceat(loss, reviews.offsets[:-1]).astype("<f4").tobytes()).decode(),
        review_tokens=base64.b64encode(reviews.lengths.astype("<u2").tobytes()).decode(),
    )


def interval(loss: np.ndarray, tokens: np.ndarray) -> tuple[float, float, float]:
    """exp of the mean loss per token, with a 95 % interval for other reviews of the same kind.

    loss (R,): sum over each review, tokens (R,): their number. Reviews are drawn, not tokens: words of one review are
    alike. For the ratio of two perplexities give the difference of their losses. (Ratio estimator, delta method.)
    """
    mean = loss.sum() / tokens.sum()
    spread = np.sqrt(np.sum((loss - mean * tokens) ** 2) * len(loss) / (len(loss) - 1)) / tokens.sum()
    return tuple(float(np.exp(mean + side * 1.96 * spread)) for side in (0, -1, 1))


def unpack_marks(marks: dict) -> tuple[np.ndarray, np.ndarray]:
    """The loss and the number of tokens of each validation review (R,), as a result file keeps them."""
    loss = np.frombuffer(base64.b64decode(marks["review_loss"]), dtype="<f4").astype(np.float64)
    return loss, np.frombuffer(base64.b64decode(marks["review_tokens"]), dtype="<u2").astype(np.float64)


def on_the_same_text(results: list[dict]) -> list[tuple[dict, list[dict]]]:
    """Each n-gram result with the networks that have read the same text; those without a partner are left out."""
    networks = [result for result in results if result["kind"] == "language_model"]
    groups = [
        (counted, [each for each in networks if each["data"]["fingerprint"] == counted["data"]["fingerprint"]])
        for counted in results
        if counted["kind"] == "ngram"
    ]
    return [(counted, runs) for counted, runs in groups if runs]


def comparison(results: list[dict]) -> pd.DataFrame:
    """Perplexity on the same held-out text: unigram, trigram and each run, and its ratio to the trigram's.

    Both with a 95 % interval, the ratio paired by review.
    """
    rows = []
    for counted, runs in on_the_same_text(results):
        yardstick, tokens = unpack_marks(counted["trigram"])
        entries = [
            ("一元模型（只看词频）", counted["unigram"], None),
            ("三元模型（Kneser–Ney）", counted["trigram"], None),
        ]
        entries += [
            (f"{result['config']['MODEL_BASE']}（`{result['run_id']}`）", result["valid"], result) for result in runs
        ]
        for name, marks, result in entries:
            loss, _ = unpack_marks(marks)
            _, low, high = interval(loss, tokens)
            ratio, ratio_low, ratio_high = interval(loss - yardstick, tokens)
            rows.append(
                {
                    "模型": name,
                    "种子": int(re.search(r"-s(\d+)", counted["run_id"])[1]),
                    "困惑度": marks["perplexity"],
                    "95%区间": f"[{low:.1f}, {high:.1f}]",
                    "与三元模型之比": f"{ratio:.3f} [{ratio_low:.3f}, {ratio_high:.3f}]",
                    "读过的词元（百万）": (
                        result["history"][-1]["tokens"] if result else counted["data"]["tokens"]["train"]
                    )
                    / 1e6,
                    "用时（分）": (result or counted)["seconds"] / 60,
                }
            )
    return pd.DataFrame(rows)


def standing(results: list[dict]) -> str:
    """What the table of perplexities stands on, for its caption."""
    facts = results[0]["data"]
    unknown = next((result.get("valid") or result["trigram"])["unknown"] for result in results)
    covered = [result["data"]["vectors"] for result in results if result["kind"] == "language_model"]
    name = "人造影评sample" if facts["dataset"] == "sample" else "aclImdb"
    text = (
        f"{name}验证影评（{facts['sizes']['valid']:,}篇，{facts['tokens']['valid']:,}个词元）上的困惑度，"
        f"词表{facts['vocab_size']:,}个词，其中<unk>占{unknown:.2%}"
    )
    return text + (f"；{vectors.describe(covered[0], facts['dataset']).rstrip('。')}" if covered else "")


def sentence(results: list[dict]) -> str:
    """Which models predict best, each by its mean over seeds; empty where no network has run."""
    found: dict[str, list[float]] = {}
    for counted, runs in on_the_same_text(results):
        found.setdefault("三元模型", []).append(counted["trigram"]["perplexity"])
        for result in runs:
            found.setdefault(result["config"]["MODEL_BASE"], []).append(result["valid"]["perplexity"])
    means = {name: float(np.mean(values)) for name, values in found.items()}
    parts = [
        f"{name}（{means[name]:.1f}{f'，{len(found[name])}个种子的均值' if len(found[name]) > 1 else ''}）"
        for name in sorted(means, key=means.get)
    ]
    return f"困惑度由低到高：{'、'.join(parts)}。" if parts else ""


def samples_table(results: list[dict]) -> pd.DataFrame:
    """What the first language model of each base wrote: base, temperature, top-k, text."""
    first: dict[str, dict] = {}
    for result in results:
        if result["kind"] == "language_model":
            first.setdefault(result["config"]["MODEL_BASE"], result)
    rows = [
        {
            "模型": base,
            "温度": sample["temperature"],
            "top-k": str(sample["top_k"] or "不限"),
            "文字": sample["text"],
        }
        for base, result in first.items()
        for sample in result["samples"]
    ]
    return pd.DataFrame(rows, columns=["模型", "温度", "top-k", "文字"])


def describe_data(config: LanguageConfig, text: LanguageText) -> dict:
    """What the figures of a run stand on."""
    return dict(
        dataset=config.DATASET,
        fingerprint=text.fingerprint,
        sizes=dict(train=text.train.n, valid=text.valid.n),
        tokens=dict(train=len(text.train.tokens), valid=len(text.valid.tokens)),
        left_out=text.left_out,
        vocab_size=len(text.vocabulary),
    )


def pretrained_pairs(results: list[dict]) -> dict[str, list[tuple[dict, dict]]]:
    """The same classifier without and with a language model to start from: model (run id without seed) -> pair a seed."""
    plain = {result["run_id"]: result for result in results if not result["config"]["PRETRAINED"]}
    pairs: dict[str, list] = {}
    for after in sorted(results, key=lambda result: result["config"]["SEED"]):
        run_id, _, source = after["run_id"].partition("-pre-")
        if source and run_id in plain:
            pairs.setdefault(run_id.replace(f"-s{after['config']['SEED']}", ""), []).append((plain[run_id], after))
    return pairs


def pretrained_sentence(results: list[dict]) -> str:
    """What starting from a language model is worth, a sentence for each model; empty where there is no pair."""
    return "".join(
        f"`{name}`以语言模型为起点，比只用词向量的{statistics.gain_text([pair[::-1] for pair in pairs])}。"
        for name, pairs in pretrained_pairs(results).items()
    )


def pretraining_gain(results: list[dict]) -> pd.DataFrame:
    """Test accuracy (%) of classifiers that start from a language model beside the same ones that do not.

    A row for each pair, its difference with a 95 % interval paired by test review; then, where a model has several
    seeds, their mean with the interval of Student's t over seeds. ``results``: result files of classifiers.
    """
    rows = []
    for name, pairs in pretrained_pairs(results).items():
        for before, after in pairs:
            seed = after["config"]["SEED"]
            each = statistics.unpack(after).astype(float) - statistics.unpack(before)  # (N,) 1, 0 or -1
            half = 1.96 * each.std(ddof=1) / np.sqrt(len(each))
            rows.append(_gain_row(name, str(seed), before["test"]["accuracy"], after["test"]["accuracy"], half))
        if len(pairs) > 1:
            before, after = (np.array([pair[at]["test"]["accuracy"] for pair in pairs]) for at in (0, 1))
            _, half = statistics.over_seeds(after - before)
            rows.append(_gain_row(name, f"{len(pairs)}个种子的均值", before.mean(), after.mean(), half))
    return pd.DataFrame(rows, columns=["模型", "种子", "不预训练", "预训练", "提高", "95%区间"])


def _gain_row(name: str, seed: str, before: float, after: float, half: float) -> dict:
    gain = after - before
    between = f"[{(gain - half) * 100:+.2f}, {(gain + half) * 100:+.2f}]"
    values = (f"`{name}`", seed, before * 100, after * 100, f"{gain * 100:+.2f}", between)
    return dict(zip(("模型", "种子", "不预训练", "预训练", "提高", "95%区间"), values, strict=True))


# Writing


@torch.no_grad()
def write(
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


def load_run(folder: Path) -> tuple[LanguageConfig, LanguageModel, list[str]]:
    """Open a finished run: its configuration, its model (on the CPU) and its vocabulary."""
    if not (folder / "model.safetensors").is_file():
        raise LabError(f"{folder}里没有训练好的语言模型。请先用lab lm训练。")
    config = from_dict(files.read_json(folder / "config.json"), LanguageConfig)
    vocabulary = train.read_vocabulary(folder)
    model = build(config, np.zeros((len(vocabulary), config.EMBEDDING_DIM), dtype=np.float32))
    model.load_state_dict(load_file(folder / "model.safetensors"))
    return config, model.eval(), vocabulary
