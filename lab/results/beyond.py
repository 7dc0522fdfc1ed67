"""How far a recurrent network gets: what each step of ``lab.recipes`` adds, and accuracy against the time spent."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lab import recipes
from lab.results import evidence
from lab.results.cells import MISSING, mean_accuracy
from lab.results.tables import PUBLISHED, accuracy_text, between, signed

RECURRENT = ("SA-LSTM", "oh-2LSTMp", "LSTM与虚拟对抗训练")  # of the published ones, no text from elsewhere


def hours(run: dict, spoken: list[dict]) -> float:
    """Time of a run and of the language model that it starts from; NaN where that one's is not known."""
    source = run["config"]["PRETRAINED"]
    times = {each["run_id"]: each["seconds"] for each in spoken}
    return (run["seconds"] + (times.get(source, np.nan) if source else 0.0)) / 3600


def published() -> dict[str, float]:
    """Accuracies (%) of recurrent networks that were trained on reviews of the same corpus alone."""
    return {name: accuracy for accuracy, name, _ in PUBLISHED if name in RECURRENT}


def by_step(results: list[dict]) -> list[tuple[str, dict[int, dict]]]:
    """Each step's name and its runs, seed -> run, on real and made-up reviews alike."""
    found = {run["run_id"]: run for run in results}
    seeds = sorted({run["config"]["SEED"] for run in results})
    return [
        (
            step.name,
            {
                seed: found[name]
                for seed in seeds
                if (name := recipes.configs(step, "aclImdb", seed)[0].run_id) in found
            },
        )
        for step in recipes.STEPS
    ]


def has_run(results: list[dict]) -> bool:
    """Whether the last step has been run."""
    return bool(strongest(results))


def strongest(results: list[dict]) -> dict[str, list[dict]]:
    """The runs of the last step under the name that they have among ``cells.kinds``; nothing where none was run."""
    _, runs = by_step(results)[-1]
    return {"LSTM，语言模型与对抗训练": list(runs.values())} if runs else {}


def table(results: list[dict], spoken: list[dict]) -> pd.DataFrame:
    """A row a step: accuracy over seeds, its gain over the step before, paired by seed, and the mean time in hours."""
    rows, before = [], {}
    for at, (name, runs) in enumerate(by_step(results)):
        gain = "–"
        if pairs := [(before[seed], run) for seed, run in runs.items() if seed in before]:
            mean, half = evidence.gain(pairs)
            gain = signed(mean) + ("" if half is None else f" {between(mean - half, mean + half)}")
        valid = f"{mean_accuracy(runs.values(), 'valid') * 100:.2f}" if runs else MISSING
        time = float(np.mean([hours(run, spoken) for run in runs.values()])) if runs else np.nan
        step = f"{'＋' if at else ''}{name}"
        rows.append((step, valid, accuracy_text(runs.values()), gain, time))
        before = runs
    return pd.DataFrame(rows, columns=["步骤", "验证", "测试准确率", "提高", "小时"])


def sentence(results: list[dict], linear: list[dict]) -> str:
    """The strongest classifier beside the linear model."""
    [runs] = strongest(results).values()
    text = f"最后一步的测试准确率为{mean_accuracy(runs):.2%}（{len(runs)}个种子）"
    seeds = {run["config"]["SEED"] for run in runs}
    same = [run for run in linear if run["config"]["SEED"] in seeds]
    if len(same) < len(seeds):
        return f"{text}。"
    gap = (mean_accuracy(runs) - mean_accuracy(same)) * 100
    return f"{text}，比同种子的线性模型（{mean_accuracy(same):.2%}）{'高' if gap > 0 else '低'}{abs(gap):.2f}个百分点。"
