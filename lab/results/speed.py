"""Tables and sentences about the benchmark."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from lab import files
from lab.results.cells import BASES

SCHEMA = 2  # of bench.json
PATIENCE = 60.0  # seconds: a packed step that would take longer is left out
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
    return machine["processor"] + ("" if is_current(machine) else "（旧版）")


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


def sentences(bench: dict) -> list[str]:
    """What a machine's measurements say, a sentence for each."""
    kind = "人造影评sample" if bench["dataset"] == "sample" else "真实的aclImdb影评"
    code = "" if is_current(bench) else "测的是较早的一版循环层。"
    lines = [f"机器：{bench['processor']}，{bench['cores']}核，{bench['threads']}线程；长度分布取自{kind}。{code}"]
    for base in BASES:
        lines.append(
            f"{base}训练一步（T=300，{bench['batch']}篇）比打包快{speedup(bench, base):.1f}倍；"
            f"T从256到2048，耗时按长度的{exponent(bench, base):.2f}次方增长。"
        )
    for row in bench["packed_epochs"]:
        lines.append(
            f"{row['base']} 1-1的一轮，同样的训练循环整批打包约需{row['seconds']:,.0f}秒"
            f"（由{row['batches']}个批次中按长度均匀抽取的{row['measured']}个推算），"
            f"本项目的实现需{_of(bench['epochs'], row['base'])['seconds']:.0f}秒，快{epoch_speedup(bench, row['base']):.1f}倍；"
            f"若先把批次切成小份再打包，需要{row['portioned']:,.0f}秒。"
        )
    if (whole := bench["grid"])["cells"]:
        memory = f"，单个进程的内存峰值{whole['memory'] / 1e9:.2f}GB" if whole["memory"] else ""
        lines.append(
            f"实验表种子2077的{whole['of']}个配置已完成{whole['cells']}个，历时{whole['elapsed'] / 60:.0f}分钟，"
            f"各配置用时之和{whole['seconds'] / 60:.0f}分钟{memory}。"
        )
    return lines
