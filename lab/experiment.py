"""The whole experiment, in the order of its worth: the table, the controls, the language model and what it brings."""

from __future__ import annotations

import re
import statistics

from lab import files
from lab.config import Config, LanguageConfig
from lab.language import ngram
from lab.language import runs as language_runs
from lab.training import grid, linear, runs, traces

# The strongest classifier, chosen on validation (seed 2077): what a language model knows, all states instead of the
# last alone, and adversarial training (Dai & Le 2015; Johnson & Zhang 2016; Miyato et al. 2017).
BEST_LANGUAGE = dict(MODEL_BASE="LSTM", HIDDEN_DIM=256, MAX_TOKENS=60_000_000)
BEST = dict(
    MODEL_BASE="LSTM",
    HIDDEN_DIM=256,
    POOLING="concat",
    HEAD_DROPOUT=0.5,
    ADVERSARIAL=1.2,
    BATCH_SIZE=64,
    N_EPOCHS=5,
    LR_DECAY=True,
)


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
    say("二、对照：不看词序的线性模型")
    linear.run(plain)
    say("三、语言模型")
    ngram.run(language)
    language_runs.run(language)
    say("四、对照：随机词向量；以语言模型为起点的分类器")
    failures += grid.run(others, workers)
    traces.write(dataset)
    return failures


def best(dataset: str, seed: int) -> dict:
    """Train the strongest classifier, a language model first; returns the classifier's result."""
    language = LanguageConfig(DATASET=dataset, SEED=seed, **BEST_LANGUAGE)
    ngram.run(language)
    language_runs.run(language)
    return runs.run(best_config(dataset, seed))


def best_config(dataset: str, seed: int) -> Config:
    """The configuration of the strongest classifier."""
    language = LanguageConfig(DATASET=dataset, SEED=seed, **BEST_LANGUAGE)
    return Config(DATASET=dataset, SEED=seed, PRETRAINED=language.run_id, **BEST)


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
