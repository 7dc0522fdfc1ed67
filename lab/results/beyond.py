"""How far a recurrent network gets: what each step of ``lab.recipes`` adds, and accuracy against the time spent."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from lab import recipes, record
from lab.config import from_dict
from lab.results import evidence
from lab.results.cells import MISSING, best_run, in_table, mean_accuracy
from lab.results.tables import accuracy_text, between, signed

# Figures on the same test set from elsewhere, for context: accuracy in per cent, method, source.
PUBLISHED = [
    (47.87, "普通RNN，不打包变长序列", "[@trevett]"),
    (85.28, "两层双向LSTM教程", "[@trevett]"),
    (86.2, "两层双向LSTM教程（另一版）", "[@trevett]"),
    (87.80, "词袋模型", "[@maas2011]"),
    (88.89, "词袋加由无标签影评学到的词向量", "[@maas2011]"),
    (91.22, "NBSVM-bi", "[@wang2012]"),
    (92.76, "SA-LSTM", "[@dai2015]"),
    (94.06, "oh-2LSTMp", "[@johnson2016]"),
    (94.09, "LSTM与虚拟对抗训练", "[@miyato2017]"),
    (95.4, "ULMFiT", "[@howard2018]"),
]
RECURRENT = ("SA-LSTM", "oh-2LSTMp", "LSTM与虚拟对抗训练")  # of the published ones, no text from elsewhere
FIRST = "只用词向量（实验表的LSTM 1-1）"
# What a changed parameter of the classifier is called, from its old and new value.
CHANGES = {
    "PRETRAINED": "以语言模型初始化",
    "HIDDEN_DIM": "隐藏单元由{0}个增至{1}个",
    "BIDIRECTIONAL": "分类器与语言模型改为双向",
    "N_EPOCHS": "训练{1}轮",
    "BATCH_SIZE": "每批{1}篇",
    "POOLING": "汇聚全部状态",
    "HEAD_DROPOUT": "输出层之前的dropout率{1:g}",
    "LR_DECAY": "学习率逐步降到0",
    "ADVERSARIAL": "对抗训练（$\\varepsilon={1:g}$）",
    "VIRTUAL": "虚拟对抗训练（$\\varepsilon={1:g}$）",
}


def changed(before: recipes.Step, step: recipes.Step) -> str:
    """What a step changes beside the one before it, from the parameters of both."""
    (old, old_language), (new, language) = map(recipes.configs, (before, step))
    old, new = old.as_dict(), new.as_dict()
    parts = [
        words.format(old[name], new[name])
        for name, words in CHANGES.items()
        if old[name] != new[name] and not (name == "PRETRAINED" and old[name])
    ]
    if old_language and language.MAX_TOKENS != old_language.MAX_TOKENS:
        few, many = (each.MAX_TOKENS / 1e7 for each in (old_language, language))
        parts.append(f"语言模型训练用的词元由{few:g}千万增至{many:g}千万")
    return "，".join(parts)


def names() -> list[str]:
    """What the steps are called in the report."""
    return [FIRST, *(changed(*pair) for pair in zip(recipes.STEPS, recipes.STEPS[1:], strict=False))]


def hours(run: dict, spoken: list[dict]) -> float:
    """Time of a run and of the language model that it starts from; NaN where that one's is not known."""
    source = run["config"]["PRETRAINED"]
    times = {each["run_id"]: each["seconds"] for each in spoken}
    return (run["seconds"] + (times.get(source, np.nan) if source else 0.0)) / 3600


def published_table(results: list[dict], linear: list[dict]) -> pd.DataFrame:
    """Published accuracies on the same test set; among them ours, each the run of lowest validation loss of its kind."""
    rows = [(accuracy, method, source) for accuracy, method, source in PUBLISHED]
    pretrained = [run for run in results if run["config"]["PRETRAINED"]]
    kinds = {"实验表": in_table(results), "以语言模型初始化": pretrained, "线性模型": linear}
    for name, runs in kinds.items():
        if runs and runs[0]["config"]["DATASET"] == "aclImdb":
            best = best_run(runs)
            rows.append((best["test"]["accuracy"] * 100, f"**本实验**，{name}：`{best['run_id']}`", "本报告"))
    return pd.DataFrame(sorted(rows), columns=["准确率", "方法", "来源"])


def published() -> dict[str, float]:
    """Accuracies (%) of recurrent networks that were trained on reviews of the same corpus alone."""
    return {name: accuracy for accuracy, name, _ in PUBLISHED if name in RECURRENT}


def by_step(results: list[dict]) -> list[tuple[str, dict[int, dict]]]:
    """Each step's name and its runs, seed -> run, on real and synthetic reviews alike."""
    found = {run["run_id"]: run for run in results}
    seeds = sorted({run["config"]["SEED"] for run in results})
    runs = []
    for step in recipes.STEPS:
        ids = {seed: recipes.configs(step, "aclImdb", seed)[0].run_id for seed in seeds}
        runs.append({seed: found[run_id] for seed, run_id in ids.items() if run_id in found})
    return list(zip(names(), runs, strict=True))


def has_run(results: list[dict]) -> bool:
    """Whether the last step has been run."""
    return bool(strongest(results))


def strongest(results: list[dict]) -> dict[str, list[dict]]:
    """The runs of the last step under the name that they have among ``cells.kinds``; nothing where none was run."""
    _, runs = by_step(results)[-1]
    config, _ = recipes.configs(recipes.STEPS[-1])
    name = f"{config.HIDDEN_DIM}单元{'双向' if config.BIDIRECTIONAL else ''}LSTM（语言模型与对抗训练）"
    return {name: list(runs.values())} if runs else {}


def table(results: list[dict], spoken: list[dict]) -> pd.DataFrame:
    """A row a step: accuracy over seeds, its gain over the step before, paired by seed, and the mean time in hours."""
    rows, before = [], {}
    for at, (name, runs) in enumerate(by_step(results)):
        gain = "–"
        if pairs := [(before[seed], run) for seed, run in runs.items() if seed in before]:
            mean, half = evidence.gain(pairs)
            span = "" if half is None else f" {between(mean - half, mean + half)}"
            gain = f"{signed(mean)}{span}（n={len(pairs)}）"
        valid = f"{mean_accuracy(runs.values(), 'valid') * 100:.2f}" if runs else MISSING
        time = float(np.mean([hours(run, spoken) for run in runs.values()])) if runs else np.nan
        step = f"{'＋' if at else ''}{name}"
        rows.append((step, valid, accuracy_text(runs.values()), gain, time))
        before = runs
    return pd.DataFrame(rows, columns=["步骤", "验证准确率", "测试准确率", "提高", "用时（小时）"])


def settings() -> str:
    """The settings of the strongest classifier."""
    step = recipes.STEPS[-1]
    config, language = recipes.configs(step)
    text = (
        f"得到的分类器{'每个方向' if config.BIDIRECTIONAL else ''}有{config.HIDDEN_DIM}个隐藏单元，每批{config.BATCH_SIZE}篇，训练{config.N_EPOCHS}轮，"
        f"输出层之前的dropout率是{config.HEAD_DROPOUT:g}"
    )
    if config.LR_DECAY:
        text += f"，学习率由{config.LEARNING_RATE:g}逐步降到0"
    text += f"，对抗训练取$\\varepsilon={config.ADVERSARIAL:g}$"
    if config.VIRTUAL:
        text += f"，虚拟对抗训练取$\\varepsilon={config.VIRTUAL:g}$"
    each = "每个方向" if language.BIDIRECTIONAL else "共"
    return f"{text}；语言模型也有{language.HIDDEN_DIM}个隐藏单元，训练时{each}处理{language.MAX_TOKENS / 1e7:g}千万个词元。"


def together(results: list[dict]) -> str:
    """What all steps are worth together, paired by seed with the first; and which of them have not been run by themselves."""
    steps = [runs for _, runs in by_step(results)]
    missing = [str(at) for at, runs in enumerate(steps[1:], 2) if not runs]
    text = ""
    if missing:
        text = f"第{'、'.join(missing)}行没有单独运行，因此无从区分它们与下一行各自的贡献，只知道合在一起的效果。"
    pairs = [(steps[0][seed], run) for seed, run in steps[-1].items() if seed in steps[0]]
    if not pairs:
        return text
    mean, half = evidence.gain(pairs)
    more = "提高" if mean > 0 else "降低"
    span = "只有一个种子" if half is None else f"{len(pairs)}个种子，95%区间{between(mean - half, mean + half)}"
    return f"{text}与第一行相比，最后一步的测试准确率按种子配对平均{more}{abs(mean):.2f}个百分点（{span}）。"


def sentence(results: list[dict], linear: list[dict]) -> str:
    """The strongest classifier beside the linear model of the same seeds, tested where it can be."""
    [runs] = strongest(results).values()
    text = f"测试准确率为{mean_accuracy(runs):.2%}（{len(runs)}个种子）"
    others = {run["config"]["SEED"]: run for run in linear}
    pairs = [(others[seed], run) for run in runs if (seed := run["config"]["SEED"]) in others]
    if len(pairs) < len(runs):
        return f"{text}。"
    mean, half = evidence.gain(pairs)
    control = mean_accuracy([other for other, _ in pairs])
    text += f"，比同种子的线性模型（{control:.2%}）{'高' if mean > 0 else '低'}{abs(mean):.2f}个百分点"
    if half is not None:
        return f"{text}，95%区间{between(mean - half, mean + half)}。"
    found = evidence.mcnemar(record.right(runs[0]), record.right(pairs[0][0]))
    return f"{text}（精确McNemar检验，{evidence.p_text(found.p)}；只有一个种子，不反映种子间的波动）。"


def ensembles(results: list[dict], linear: list[dict], summary: dict) -> str:
    """The mean of several models' probabilities: the strongest classifier's seeds, and these with the linear model's."""
    [runs] = strongest(results).values()
    if len(runs) < 2:
        return ""
    labels, _ = record.summary_labels(summary)
    seeds = {run["config"]["SEED"] for run in runs}
    controls = [run for run in linear if run["config"]["SEED"] in seeds]
    mean = mean_probability(runs)
    text = f"以下是模型集成的结果，不与单个模型比较：{len(runs)}个种子的概率取平均后，测试准确率为{np.mean((mean > 0.5) == labels):.2%}"
    if len(controls) == len(runs):
        both = mean + mean_probability(controls)
        text += f"；再与同种子线性模型的概率一起平均，为{np.mean((both > 1) == labels):.2%}"
    return f"{text}。"


def mean_probability(runs: list[dict]) -> np.ndarray:
    """Mean over runs of the probability of 'positive' of each test review, (N,)."""
    return np.mean([record.probabilities(run) for run in runs], axis=0, dtype=float)


def virtual(results: list[dict]) -> str:
    """What virtual adversarial training adds to a step, on validation and on test, paired by seed."""
    without = {run["run_id"]: (name, run) for name, runs in by_step(results) for run in runs.values()}
    found: dict[tuple[str, float], list[tuple[dict, dict]]] = {}
    for run in results:
        source = replace(from_dict(run["config"]), VIRTUAL=0.0).run_id
        if run["config"]["VIRTUAL"] and source in without:
            name, before = without[source]
            found.setdefault((name, run["config"]["VIRTUAL"]), []).append((before, run))
    lines = []
    for (name, norm), pairs in sorted(found.items()):
        (loss, new_loss), (old, new) = (
            [np.mean([run[part][key] for run in runs]) for runs in zip(*pairs, strict=True)]
            for part, key in (("valid", "loss"), ("test", "accuracy"))
        )
        lines.append(
            f"在“{name}”一步上再加虚拟对抗训练[@miyato2017]（对无标签影评也施加扰动，以扰动前后两次判断的KL散度为损失，$\\varepsilon={norm:g}$），"
            f"同种子的验证损失由{loss:.4f}变为{new_loss:.4f}，测试准确率由{old:.2%}变为{new:.2%}"
            + ("" if new_loss < loss else "，验证损失没有降低")
            + ("，只有一个种子，不足以作出判断。" if len(pairs) == 1 else f"（{len(pairs)}个种子）。")
        )
    return "".join(lines)


def strongest_sentence(results: list[dict], linear: list[dict]) -> str:
    """The same with what the classifier is, for the abstract."""
    config, _ = recipes.configs(recipes.STEPS[-1])
    what = f"{config.HIDDEN_DIM}个隐藏单元的{'双' if config.BIDIRECTIONAL else '单'}向LSTM，以语言模型初始化，汇聚全部状态并作对抗训练"
    return f"{what}，{sentence(results, linear)}"
