"""What the results cannot say: departures from the plan, cells below the reference, power, vectors, processors."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from lab.results import evidence, plan
from lab.results.cells import REFERENCE, Cell, by_cell, changes
from lab.results.sentences import gain
from lab.results.tables import signed

OLDER = "300维的运行所用的影评按较早一版的规则清洗"


def departures(results: list[dict]) -> str:
    """Cells that ran with fewer seeds than planned, or on other text; those not run at all are told elsewhere."""
    groups: dict[tuple[int, int], list[str]] = {}
    table = by_cell(results)
    for cell, seeds in table.items():
        planned = plan.SEEDS["deep" if cell.layers == 5 else "shallow"]
        if 0 < len(seeds) < len(planned):
            groups.setdefault((len(planned), len(seeds)), []).append(cell.label)
    parts = []
    for (planned, done), labels in groups.items():
        who = "、".join(labels) if len(labels) <= 4 else f"{len(labels)}个配置"
        parts.append(f"{who}计划{planned}个种子，实际{done}个")
    if _older(table):
        parts.append(f"{OLDER}，与100维的不同")
    return f"**与计划的出入**　{'；'.join(parts)}。" if parts else ""


OTHER_REVIEWS = "内置的合成影评与参考报告所用的影评不同，准确率不能与参考报告比较。"


def places(reference: pd.DataFrame, dataset: str = "aclImdb") -> str:
    """How many references lie within the prediction interval of their cell, and which do not.

    Only cells on vectors like the reference report's are counted (rule 5 of the plan); the others are named.
    """
    if dataset == "sample":
        return OTHER_REVIEWS
    known = reference[reference["low"].notna()]
    alike, others = known[known["alike"]], known[~known["alike"]]
    outside = [f"{row.cell.label}（{row.place}）" for row in alike.itertuples() if row.place != evidence.INSIDE]
    text = ""
    if len(alike):
        text = f"与参考报告可比、有预测区间的{len(alike)}个配置中，{len(alike) - len(outside)}个的参考值在区间内"
        text += f"，例外的是{'、'.join(outside)}。" if outside else "。"
        text += "这些区间较宽，参考值落在其中不等于复现了参考报告。"
    if len(others):
        names = "、".join(cell.label for cell in others["cell"])
        text += (
            f"参考报告没有给出词向量的覆盖率；{names}所用词向量的覆盖率可能与它相差{plan.COVERAGE * 100:.0f}个百分点以上，"
            "故参照检验计划的第5条，不计在内。"
        )
    return text


def short(results: list[dict]) -> str:
    """Which cells fall short of the reference, and what their runs, clipped ones among them, show of it."""
    if results and results[0]["config"]["DATASET"] == "sample":
        return OTHER_REVIEWS
    found = evidence.reference_table(results)
    found = found[found["mean"] < found["reference"] - plan.SHORT]
    limit = f"比参考报告低{plan.SHORT * 100:.1f}个百分点以上"
    if not len(found):
        return f"没有一个配置的均值{limit}。"
    text = f"均值{limit}的配置有{len(found)}个：{'、'.join(cell.label for cell in found['cell'])}。"
    clipped = {each.cell: each for each in changes(results) if list(each.changed) == ["GRAD_CLIP"]}
    table = by_cell(results)
    for row in found.itertuples():
        runs = list(table[row.cell].values())
        text += facts(row, runs) + stuck(runs)
        if row.cell in clipped:
            each = clipped[row.cell]
            text += gain(row.cell.label, "不裁剪", f"裁剪梯度（{each.label}）", each.pairs)
    rest = [cell.label for cell in found["cell"] if cell not in clipped]
    return text + (f"{'、'.join(rest)}没有裁剪梯度的对照实验。" if rest else "")


def facts(row, runs: list[dict]) -> str:
    """The runs of a cell (a row of ``evidence.reference_table``) beside the reference, and what they cannot tell."""
    values = [run["test"]["accuracy"] for run in runs]
    shown = "、".join(f"{value:.2%}" for value in values)
    low = sum(value < row.reference for value in values)
    which = "" if len(values) == 1 else "都" if low == len(values) else f"其中{low}次"
    text = f"{row.cell.label}的{len(runs)}次运行的测试准确率为{shown}，{which}低于参考值{row.reference:.2%}"
    if not row.alike:
        covered = runs[0]["data"]["vectors"]["covered_tokens"]
        return f"{text}；词向量只覆盖训练集词元的{covered:.1%}，与参考报告不可比，差异的原因无从判断。"
    if math.isnan(row.low):
        return f"{text}；只有一个种子，无法估计波动。"
    span = f"再运行一次的预测区间[{row.low * 100:.2f}, {row.high * 100:.2f}]".replace("-", "−")
    if row.low < 0 or row.high > 1:
        return f"{text}；{span}超出了准确率的范围，种子间的波动太大，不足以作出判断。"
    if row.place == evidence.INSIDE:
        return f"{text}；{span}包含参考值，不足以断定二者不同。"
    return f"{text}；{span}不含参考值，原因尚不清楚。"


def is_guess(epoch: dict) -> bool:
    """Whether an epoch's validation loss is that of guessing: ln 2."""
    return abs(epoch["valid_loss"] - math.log(2)) < 0.01


def stuck(runs: list[dict]) -> str:
    """How long the runs of a cell did no better than guessing, and how small their gradients were meanwhile."""
    counts = [sum(map(is_guess, run["history"])) for run in runs]
    epochs = [epoch for run in runs for epoch in run["history"] if "grad_norm" in epoch]
    some, others = ([epoch["grad_norm"] for epoch in epochs if is_guess(epoch) is guess] for guess in (True, False))
    if max(counts) < 2 or not some or not others:
        return ""
    text = (
        f"各次运行依次有{'、'.join(map(str, counts))}轮的验证损失停在随机猜测的ln 2附近；"
        f"这些轮次里梯度范数的中位数是{np.median(some):.2f}，其余轮次是{np.median(others):.2f}。"
    )
    for count, run in zip(counts, runs, strict=True):
        if count >= len(run["history"]) - 1:
            left = len(run["history"]) - count
            text += f"`{run['run_id']}`{'只有1轮' if left else '没有一轮'}的验证损失明显低于ln 2（测试准确率{run['test']['accuracy']:.2%}）。"
    return text


def unfinished(results: list[dict]) -> str:
    """Which runs were best in their last epoch; nothing where none was."""
    late = []
    for run in results:
        if run["best_epoch"] == run["config"]["N_EPOCHS"]:
            flat = next((at for at, epoch in enumerate(run["history"]) if not is_guess(epoch)), len(run["history"]))
            late.append(f"`{run['run_id']}`" + (f"（前{flat}轮停在随机猜测的ln 2附近）" if flat > 1 else ""))
    if not late:
        return ""
    return f"实验表中有{len(late)}次运行选中最后一轮：{'、'.join(late)}。验证损失到这一轮才降到最低，再多训练几轮或许还会下降。"


def power(verdicts: pd.DataFrame) -> str:
    """The reference report's own differences beside the smallest visible ones, for claims on which the evidence is thin."""
    parts, against, below = [], [], 0
    for row in verdicts[(verdicts["verdict"] == "证据不足") & verdicts["visible"].notna()].itertuples():
        claim = next(claim for claim in plan.CLAIMS if claim.name == row.claim)
        mean = float(np.mean([REFERENCE[pair.better] - REFERENCE[pair.worse] for pair in claim.main]))
        below += abs(mean) < row.visible
        parts.append(f"“{row.claim}”{signed(mean * 100)}（可检出差异{row.visible * 100:.2f}）")
        if mean < 0:
            against.append(f"“{row.claim}”")
    if not parts:
        return ""
    reverse = f"其中{''.join(against)}的平均差为负，参考报告自身的结果平均而言并不支持这条结论。" if against else ""
    end = "都" if below == len(parts) else f"其中{below}条"
    text = (
        f"参考报告在主检验各配对上的平均差，证据不足的各条依次为（百分点，正值与结论同向）：{'、'.join(parts)}，"
        f"{end}小于可检出差异：真实的差异若就是这样大，按现有的种子数检出的概率不足80%。"
        if below
        else f"参考报告在主检验各配对上的平均差（百分点，正值与结论同向）：{'、'.join(parts)}。"
    )
    return text + reverse


def vectors(results: list[dict]) -> str:
    """That vectors of unlike coverage were used at the two dimensions; nothing where they are alike."""
    covered: dict[int, float] = {}
    table = by_cell(results)
    for cell, seeds in table.items():
        for run in seeds.values():
            covered[cell.dim] = run["data"]["vectors"]["covered_tokens"]
    if len(covered) < 2 or max(covered.values()) - min(covered.values()) <= plan.COVERAGE:
        return ""
    shown = "与".join(f"{dim}维的{share:.1%}" for dim, share in sorted(covered.items()))
    text = f"**词向量**　两种维数的词向量取自覆盖率不同的文件（{shown}），二者之差不能归因于维数，故与维数有关的两条结论判为不可比。"
    return f"{text}没有预训练词向量的词，其向量只能在训练中学得。" + (f"{OLDER}。" if _older(table) else "")


def _older(table: dict[Cell, dict[int, dict]]) -> bool:
    """Whether runs of one seed at the two dimensions stand on differently cleaned reviews."""
    wide, narrow = (table[Cell("LSTM", 1, 1, dim)] for dim in (300, 100))
    return any(
        run["data"]["fingerprint"] != narrow[seed]["data"]["fingerprint"]
        for seed, run in wide.items()
        if seed in narrow
    )


def processors(results: list[dict]) -> str:
    """On which processors the classifiers were trained, and what that means for a seed; nothing where that is not known."""
    found: dict[str, list[str]] = {}
    for run in results:
        if "processor" in run:
            found.setdefault(run["processor"], []).append(run["run_id"])
    if not found:
        return ""
    most, *others = sorted(found, key=lambda name: -len(found[name]))
    text = f"**处理器**　{len(found[most])}次分类训练在{most}上完成"
    for name in others:
        which = f"（{'、'.join(f'`{run_id}`' for run_id in found[name])}）" if len(found[name]) <= 4 else ""
        text += f"，{len(found[name])}次在{name}上{which}"
    text += "。循环层的矩阵乘法由OpenBLAS完成，它在不同的处理器上选用不同的内核，舍入不同，"
    text += "所以处理器不同时，同一种子不保证训练出相同的模型"
    return text + ("；在不同处理器上完成的两次运行，其差异也包含舍入造成的部分。" if others else "。")
