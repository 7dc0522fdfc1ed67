"""Tables and sentences about language models and pre-training."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from lab import record
from lab.config import LANGUAGE_PARAMETERS
from lab.data import vectors
from lab.results import evidence
from lab.results.cells import pretrained_pairs
from lab.results.tables import between, signed


def interval(loss: np.ndarray, tokens: np.ndarray) -> tuple[float, float, float]:
    """exp of the mean loss per token, with a 95 % interval for other reviews of the same kind.

    loss (R,): sum over each review, tokens (R,): their number. Reviews are drawn, not tokens: words of one review are
    alike. For the ratio of two perplexities give the difference of their losses. (Ratio estimator, delta method.)
    """
    mean = loss.sum() / tokens.sum()
    spread = np.sqrt(np.sum((loss - mean * tokens) ** 2) * len(loss) / (len(loss) - 1)) / tokens.sum()
    return tuple(float(np.exp(mean + side * 1.96 * spread)) for side in (0, -1, 1))


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
        yardstick, tokens = record.review_losses(counted["trigram"])
        entries = [
            ("一元语法模型（只看词频）", counted["unigram"], None),
            ("三元语法模型（Kneser–Ney）", counted["trigram"], None),
        ]
        names = [network_name(result["config"]) for result in runs]
        for name, result in zip(names, runs, strict=True):
            alike = names.count(name) > 1
            entries.append((f"{name}（`{result['run_id']}`）" if alike else name, result["valid"], result))
        for name, marks, result in entries:
            loss, _ = record.review_losses(marks)
            _, low, high = interval(loss, tokens)
            ratio, ratio_low, ratio_high = interval(loss - yardstick, tokens)
            against = (
                f"{ratio:.3f} [{ratio_low:.3f},\u00a0{ratio_high:.3f}]" if marks is not counted["trigram"] else "–"
            )
            rows.append(
                {
                    "模型": name,
                    "种子": _seed(counted),
                    "困惑度": marks["perplexity"],
                    "95%区间": f"[{low:.1f},\u00a0{high:.1f}]",
                    "与三元语法模型之比": against,
                    "词元（百万）": (result["history"][-1]["tokens"] if result else counted["data"]["tokens"]["train"])
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
    name = "合成影评sample" if facts["dataset"] == "sample" else "aclImdb"
    text = (
        f"{name}验证影评（{facts['sizes']['valid']:,}篇，{facts['tokens']['valid']:,}个词元）上的困惑度，"
        f"词表{facts['vocab_size']:,}个词，验证集的词元中`<unk>`占{unknown:.2%}"
    )
    return text + (f"；{vectors.describe(covered[0], facts['dataset']).rstrip('。')}" if covered else "")


def sentence(results: list[dict]) -> str:
    """Which models predict best, all of the same seeds: those of which most models have run; empty without a network."""
    groups: list[tuple[int, dict[str, float]]] = []  # of each text: seed, model -> perplexity
    read: set[int] = set()  # tokens
    for counted, runs in on_the_same_text(results):
        read |= {result["history"][-1]["tokens"] for result in runs}
        found = {"三元语法模型": counted["trigram"]["perplexity"]}
        found |= {network_name(result["config"]): result["valid"]["perplexity"] for result in runs}
        groups.append((_seed(counted), found))
    if not groups:
        return ""
    models = max((found for _, found in groups), key=len)
    shared = {seed: found for seed, found in groups if found.keys() == models.keys()}
    means = {name: float(np.mean([found[name] for found in shared.values()])) for name in models}
    parts = [f"{name}（{means[name]:.1f}）" for name in sorted(means, key=means.get)]
    [seed, *others] = shared
    where = f"{len(shared)}个共有种子的平均" if others else f"种子{seed}的"
    unlike = "（各模型训练时处理的词元数不同，见[表](#perplexity)）" if len(read) > 1 else ""
    return f"{where}困惑度由低到高依次为：{'、'.join(parts)}{unlike}。"


def network_name(config: dict) -> str:
    """A language model by what is not the default: LSTM, 256单元LSTM, 256单元双向LSTM."""
    usual = config["HIDDEN_DIM"] == LANGUAGE_PARAMETERS["HIDDEN_DIM"].default
    width = "" if usual else f"{config['HIDDEN_DIM']}单元"
    return width + ("双向" if config["BIDIRECTIONAL"] else "") + config["MODEL_BASE"]


def _seed(counted: dict) -> int:
    """The seed of an n-gram result, which its name holds."""
    return int(re.search(r"-s(\d+)", counted["run_id"])[1])


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


def pretraining_gain(results: list[dict]) -> pd.DataFrame:
    """Test accuracy (%) of classifiers that start from a language model beside the same ones that do not.

    A row for each pair, its difference with a 95 % interval paired by test review; then, where a model has several
    seeds, their mean with the interval of Student's t over seeds. ``results``: result files of classifiers.
    """
    rows = []
    for name, pairs in pretrained_pairs(results).items():
        for before, after in pairs:
            seed = after["config"]["SEED"]
            each = record.right(after).astype(float) - record.right(before)  # (N,) 1, 0 or -1
            half = 1.96 * each.std(ddof=1) / np.sqrt(len(each))
            rows.append(_gain_row(name, str(seed), before["test"]["accuracy"], after["test"]["accuracy"], half))
        if len(pairs) > 1:
            before, after = (np.array([pair[at]["test"]["accuracy"] for pair in pairs]) for at in (0, 1))
            _, half = evidence.over_seeds(after - before)
            rows.append(_gain_row(name, f"{len(pairs)}个种子的均值", before.mean(), after.mean(), half))
    return pd.DataFrame(rows, columns=["模型", "种子", "只用词向量", "以语言模型初始化", "提高", "95%区间"])


def _gain_row(name: str, seed: str, before: float, after: float, half: float) -> dict:
    gain = after - before
    span = between((gain - half) * 100, (gain + half) * 100)
    values = (f"`{name}`", seed, before * 100, after * 100, signed(gain * 100), span)
    return dict(zip(("模型", "种子", "只用词向量", "以语言模型初始化", "提高", "95%区间"), values, strict=True))
