"""The whole experiment, in the order of its worth: the table, the controls, the language model and what it brings."""

from __future__ import annotations

import itertools
import re
import statistics
from collections.abc import Iterable
from pathlib import Path

from lab import files, recipes
from lab.config import Config, LanguageConfig
from lab.language import ngram
from lab.language import runs as language_runs
from lab.training import grid, linear, runs, traces


def run(dataset: str, seed: int, workers: int, say=print) -> list[str]:
    """Run what the report shows, skipping what is finished; returns the failures' texts.

    ``say`` gets a line before each part, the first with the time that all of it takes.
    """
    common = dict(DATASET=dataset, SEED=seed)
    plain, language = Config(**common), LanguageConfig(MODEL_BASE="LSTM", **common)
    cells = grid.configs(**common)
    others = [*grid.controls(**common), Config(MODEL_BASE="LSTM", PRETRAINED=language.run_id, **common)]
    say(estimate(dataset, [each.run_id for each in (*cells, *others, language)], workers))

    say("一、实验表的16个配置")
    failures = grid.run(cells, workers)
    say("二、对照：线性模型")
    linear.run(plain)
    say("三、语言模型")
    ngram.run(language)
    language_runs.run(language)
    say("四、对照：随机词向量；以语言模型初始化的分类器")
    failures += grid.run(others, workers)
    traces.write(dataset)
    return failures


def set_aside(dataset: str) -> Path | None:
    """Move the result files that came with the project, or stand on other data, to a folder beside; None without any."""
    folder = files.results_dir(dataset)
    if not any(folder.glob("*.json")):
        return None
    taken = (folder.with_name(f"{folder.name}-{number}") for number in itertools.count(1))
    target = next(path for path in taken if not path.exists())
    folder.rename(target)
    return target


def best(dataset: str, seed: int, steps: Iterable[recipes.Step] = recipes.STEPS[-1:]) -> list[dict]:
    """Train the classifiers of ``steps``, by default the strongest, each after its language model; returns their results."""
    results = []
    for step in steps:
        config, language = recipes.configs(step, dataset, seed)
        if language:
            ngram.run(language)
            language_runs.run(language)
        results.append(runs.run(config))
    return results


def estimate(dataset: str, run_ids: list[str], workers: int) -> str:
    """A line with how many runs are left and, from what earlier ones of other seeds took, how long they take."""
    left = [run_id for run_id in run_ids if not files.result_path(dataset, run_id).is_file()]
    seconds = {}
    for run_id in left:
        alike = re.compile(re.sub(r"-s\d+", r"-s\\d+", run_id))
        paths = [path for path in files.results_dir(dataset).glob("*.json") if alike.fullmatch(path.stem)]
        if paths:
            seconds[run_id] = statistics.median(files.read_json(path)["seconds"] for path in paths)
    line = f"共{len(run_ids)}次训练，还有{len(left)}次未完成；可以随时中断，再次运行会从停下的地方继续。"
    if seconds:
        line += f"按已有的结果文件估计，其中{len(seconds)}次共需约{sum(seconds.values()) / workers / 3600:.1f}小时。"
    return line
