"""The cells of the lab sheet's table: reference figures, the result files of each cell, and runs that differ in one setting."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from lab.config import PARAMETERS, Config
from lab.errors import LabError

MISSING = "未运行"
BASES = ("RNN", "LSTM")
PART_NAMES = {"train": "训练集", "valid": "验证集", "test": "测试集"}


class Cell(NamedTuple):
    """One entry of the reference table; equal to the plain tuple of its four values."""

    base: str
    layers: int
    directions: int
    dim: int

    @property
    def label(self) -> str:
        """The name a reader sees, in the notation N_L-N_D of the reference table."""
        return f"{self.base} {self.layers}-{self.directions}（{self.dim}维）"


# Test accuracies of the reference report (one run each, seed 2077): lab sheet, section "Reference figures".
REFERENCE: dict[Cell, float] = {
    Cell(base, layers, directions, dim): round(percent / 100, 4)
    for layers, directions, *row in [
        # N_L, N_D, RNN 100d, LSTM 100d, RNN 300d, LSTM 300d
        (1, 1, 77.22, 85.57, 76.29, 86.20),
        (1, 2, 77.87, 85.64, 76.80, 86.62),
        (2, 1, 77.30, 86.56, None, None),
        (2, 2, 76.41, 85.65, None, None),
        (5, 1, 75.28, 84.47, None, None),
        (5, 2, 74.14, 84.56, None, None),
    ]
    for (base, dim), percent in zip([("RNN", 100), ("LSTM", 100), ("RNN", 300), ("LSTM", 300)], row, strict=True)
    if percent is not None
}


def by_cell(results: Iterable[dict], settings: Config | None = None) -> dict[Cell, dict[int, dict]]:
    """Sort result files into the cells of the reference table: cell -> seed -> result.

    A run belongs to the table where everything but cell and seed is as in ``settings`` (the defaults of the
    lab sheet unless given); runs with other vectors, an improved setting or another kind of model, and files
    that are no run at all, are left out. Raises ``LabError`` where runs of one dimension stand on different vectors or reviews.
    """
    settings = settings or Config()
    table: dict[Cell, dict[int, dict]] = {cell: {} for cell in REFERENCE}
    for result in results:
        if result.get("kind") != "classifier":
            continue
        config = result["config"]
        cell = Cell(config["MODEL_BASE"], config["N_LAYERS"], 1 + config["BIDIRECTIONAL"], config["EMBEDDING_DIM"])
        if cell not in table:
            continue
        expected = replace(
            settings,
            MODEL_BASE=cell.base,
            N_LAYERS=cell.layers,
            BIDIRECTIONAL=cell.directions == 2,
            EMBEDDING_DIM=cell.dim,
            SEED=config["SEED"],
        )
        if result["run_id"] == expected.run_id:
            table[cell][config["SEED"]] = result
    check_same_data([run for seeds in table.values() for run in seeds.values()])
    return table


def check_same_data(results: Iterable[dict]) -> None:
    """No table mixes data: ``LabError`` where runs with vectors of one name differ in their words, or in the reviews of a seed."""
    first: dict[tuple, tuple] = {}
    for result in results:
        data, vectors = result["data"], result["data"]["vectors"]
        name = vectors["name"]
        for what, key, value in (
            (f"词向量{name}", (name,), f"{vectors['words']:,}个词"),
            ("影评或划分", (name, result["config"]["SEED"]), f"数据指纹{data['fingerprint']}"),
        ):
            other, theirs = first.setdefault(key, (result, value))
            if theirs != value:
                raise LabError(
                    f"结果文件{other['run_id']}和{result['run_id']}的{what}不同（{theirs}与{value}），不能列入同一张表。"
                    "请删除旧的一个后重新运行。"
                )


def in_table(results: list[dict]) -> list[dict]:
    """The runs of the lab sheet's cells in the table's order; controls and other settings are left out."""
    return [run for seeds in by_cell(results).values() for run in seeds.values()]


def mean_accuracy(runs: Iterable[dict], part: str = "test") -> float:
    """Mean accuracy of runs on a part."""
    return float(np.mean([run[part]["accuracy"] for run in runs]))


def best_run(results: list[dict]) -> dict:
    """The run with the lowest validation loss."""
    return min(results, key=lambda result: result["valid"]["loss"])


def one_seed(results: list[dict]) -> list[dict]:
    """The table's runs of one seed (the smallest), in the table's order."""
    cells = by_cell(results)
    seeds = sorted({seed for runs in cells.values() for seed in runs})
    return [runs[seeds[0]] for runs in cells.values() if seeds and seeds[0] in runs]


class Change(NamedTuple):
    """One cell without and with another setting, seed by seed."""

    cell: Cell
    changed: dict  # parameter -> value
    pairs: list[tuple[dict, dict]]  # (without, with), one a seed

    @property
    def label(self) -> str:
        """The changed parameters as a reader sees them."""
        return "，".join(
            f"`{name}={value if isinstance(value, str) else format(value, 'g')}`"
            for name, value in self.changed.items()
        )


def changes(results: list[dict]) -> list[Change]:
    """Runs of the table's cells with other settings (gradient clipping, dropout …) beside those of the same seed without."""
    tagged = [name for name, field in PARAMETERS.items() if field.metadata["tag"] and name != "PRETRAINED"]
    settings = {}
    for result in results:
        config = result["config"]
        changed = {name: config[name] for name in tagged if config[name] != PARAMETERS[name].default}
        if changed and not config["PRETRAINED"] and config["VECTORS"] == "glove.6B":
            settings[Config(**changed)] = changed
    plain = by_cell(results)
    found = []
    for config, changed in settings.items():
        for cell, seeds in by_cell(results, config).items():
            pairs = [(plain[cell][seed], run) for seed, run in sorted(seeds.items()) if seed in plain[cell]]
            if pairs:
                found.append(Change(cell, changed, pairs))
    return found


def random_pairs(results: list[dict]) -> dict[str, list[tuple[dict, dict]]]:
    """The 1-1 cell with random vectors and with GloVe, seed by seed: base -> (random, GloVe)."""
    table = by_cell(results)
    pairs = {}
    for base in BASES:
        names = {Config(MODEL_BASE=base, VECTORS="random", SEED=seed).run_id: seed for seed in table[base, 1, 1, 100]}
        random = {names[result["run_id"]]: result for result in results if result["run_id"] in names}
        pairs[base] = [(random[seed], table[base, 1, 1, 100][seed]) for seed in sorted(random)]
    return pairs


def pretrained_pairs(results: list[dict]) -> dict[str, list[tuple[dict, dict]]]:
    """The same classifier without and with a language model to start from: run id without its seed -> a pair a seed."""
    plain = {result["run_id"]: result for result in results if not result["config"]["PRETRAINED"]}
    pairs: dict[str, list] = {}
    for after in sorted(results, key=lambda result: result["config"]["SEED"]):
        run_id, _, source = after["run_id"].partition("-pre-")
        if source and run_id in plain:
            pairs.setdefault(run_id.replace(f"-s{after['config']['SEED']}", ""), []).append((plain[run_id], after))
    return pairs


def reader_name(name: str) -> str:
    """``lstm-1x1-100d`` as LSTM 1-1; a run with other settings keeps its name."""
    plain = re.fullmatch(r"(rnn|lstm)-(\d+)x(\d+)-100d", name)
    return f"{plain[1].upper()} {plain[2]}-{plain[3]}" if plain else f"`{name}`"


def kinds(results: list[dict], linear: list[dict]) -> dict[str, list[dict]]:
    """The kinds of models that the report compares, all of one layer and one direction: name -> its runs over seeds."""
    table, found = by_cell(results), {}
    for base, pairs in random_pairs(results).items():
        found[f"{base}（随机词向量）"] = [random for random, _ in pairs]
        found[f"{base}（GloVe）"] = list(table[base, 1, 1, 100].values())
    for name, pairs in pretrained_pairs(results).items():
        base = pairs[0][1]["config"]["MODEL_BASE"]
        if name == Config(MODEL_BASE=base).run_id.rpartition("-s")[0]:
            found[f"{base}（以语言模型初始化）"] = [after for _, after in pairs]
    return found | {"TF-IDF加逻辑回归": linear}
