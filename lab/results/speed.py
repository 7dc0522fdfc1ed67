"""Tables and sentences about the benchmark."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from lab import files
from lab.results.cells import BASES

SCHEMA = 2  # of bench.json
PATIENCE = 60.0  # seconds: a packed step that would take longer is left out
PORTION = 2**13  # tokens that the packed path is given at once where a batch is cut into parts
RECURRENCE = 2  # raised where the recurrence is rewritten: earlier measurements are shown as those of an old version


def path() -> Path:
    """Where ``lab.bench`` keeps its measurements."""
    return files.home() / "report" / "results" / "bench.json"


def load() -> list[dict]:
    """The measurements of each machine; none where the file is missing or of another schema."""
    found = files.read_json(path()) if path().is_file() else {}
    return found["machines"] if found.get("schema") == SCHEMA else []


def is_current(bench: dict) -> bool:
    """Whether a machine's measurements are of today's recurrence."""
    return bench.get("recurrence") == RECURRENCE


def exponent(bench: dict, base: str, low: int = 256, high: int = 2048) -> float:
    """Slope of ln(seconds) over ln(T) of our path between ``low`` and ``high`` steps."""
    points = [(row["steps"], row["seconds"]) for row in bench["steps"] if row["base"] == base]
    steps, seconds = np.log([point for point in points if low <= point[0] <= high]).T
    return float(np.polyfit(steps, seconds, 1)[0])


def speedup(bench: dict, base: str, steps: int = 300) -> float:
    """Packed seconds over ours, of a step of this length."""
    packed, ours = (
        next(row["seconds"] for row in bench[part] if (row["base"], row["steps"]) == (base, steps))
        for part in ("packed_steps", "steps")
    )
    return packed / ours


def epoch_speedup(bench: dict, base: str) -> float:
    """Packed seconds over ours, of a whole epoch of the 1-1 model."""
    return _of(bench["packed_epochs"], base)["seconds"] / _of(bench["epochs"], base)["seconds"]


def _of(rows: list[dict], base: str) -> dict:
    return next(row for row in rows if row["base"] == base)  # the first of its kind is the 1-1 model


def label(machine: dict) -> str:
    """The machine's name in tables and figures."""
    return machine["processor"] + ("" if is_current(machine) else "（旧版代码）")


def epoch_table(machines: list[dict]) -> pd.DataFrame:
    """A row for each measured epoch: machine, model, seconds, tokens a second, peak memory in GB."""
    return pd.DataFrame(
        {
            "处理器": label(machine),
            "模型": f"{row['base']} {row['layers']}-{row['directions']}",
            "一轮（秒，含验证）": row["seconds"],
            "其中训练（秒）": row["training_seconds"],
            "每秒词元": f"{row['tokens_per_second']:,.0f}",
            "内存峰值（GB）": row["memory"] / 1e9 if row["memory"] else None,
        }
        for machine in machines
        for row in machine["epochs"]
    )


def table(machines: list[dict]) -> pd.DataFrame:
    """What the recurrence gains over PyTorch's packed path, a row for each machine and layer."""
    rows = []
    for machine in machines:
        for base in BASES:
            packed, own = _of(machine["packed_epochs"], base), _of(machine["epochs"], base)
            rows.append(
                {
                    "处理器": label(machine),
                    "循环层": base,
                    "单步加速比": speedup(machine, base),
                    "耗时增长指数": exponent(machine, base),
                    "一轮（秒）": own["seconds"],
                    "打包的一轮（秒）": packed["seconds"],
                    "分小批打包（秒）": packed["portioned"],
                    "一轮加速比": epoch_speedup(machine, base),
                }
            )
    return pd.DataFrame(rows)


def grid_sentence(machines: list[dict]) -> str:
    """How long the whole table of one seed takes; empty where no machine has run all of it."""
    lines = []
    for machine in machines:
        whole = machine["grid"]
        if whole["cells"] == whole["of"] > 0:
            memory = f"，单个进程的内存峰值{whole['memory'] / 1e9:.2f}GB" if whole["memory"] else ""
            lines.append(
                f"另作的一次计时：在{machine['cores']}核的{label(machine)}上，实验表的{whole['of']}个配置（种子{whole.get('seed', 2077)}）共历时"
                f"{whole['elapsed'] / 60:.0f}分钟，各配置用时之和{whole['seconds'] / 60:.0f}分钟{memory}。"
            )
    return "".join(lines)
