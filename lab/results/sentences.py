"""Sentences that depend on the results in more than a number: verdicts, gains, what the figures stand on."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lab import record
from lab.data import sample, vectors
from lab.results import beyond, evidence, perplexity, plan
from lab.results.cells import (
    BASES,
    MISSING,
    REFERENCE,
    best_run,
    by_cell,
    changes,
    in_table,
    mean_accuracy,
    pretrained_pairs,
    random_pairs,
    reader_name,
)
from lab.results.tables import between, signed


def foundation(dataset: str, results: list[dict]) -> str:
    """What a reader must know before the first figure: synthetic reviews, cells that have not been run."""
    lines = [f"> **注意：{sample.NOTICE}**"] if dataset == "sample" else []
    missing = sum(not seeds for seeds in by_cell(results).values())
    if missing:
        others = len(results) - len(in_table(results))
        more = f"；另有{others}次改动了参数的运行，不属于实验表，列在附录" if others else ""
        lines.append(f"> 实验表的{len(REFERENCE)}个配置中还有{missing}个未运行{more}。")
    return "\n>\n".join(lines)


def standing(results: list[dict]) -> str:
    """The vectors and data behind a set of runs, for captions."""
    if not results:
        return "还没有运行"
    files = {vector["name"]: vector for vector in (result["data"]["vectors"] for result in results)}
    facts = [described(files[name]) for name in sorted(files) if name != "random"]
    data = "合成影评sample" if results[0]["config"]["DATASET"] == "sample" else "aclImdb"
    return f"数据为{data}，词向量为{'、'.join(facts) or '随机向量'}"


def described(vector: dict) -> str:
    """A vector file and how much of the training text it covers."""
    kind = "完整" if vector["complete"] else f"子集，{vector['words']:,}个词"
    return f"{vector['name']}（{kind}，覆盖训练集词元的{vector['covered_tokens']:.1%}）"


def runs_by_vectors(results: list[dict]) -> str:
    """How many runs used which vectors."""
    files = {vector["name"]: vector for vector in (result["data"]["vectors"] for result in results)}
    counts = {name: sum(result["data"]["vectors"]["name"] == name for result in results) for name in sorted(files)}
    return "，".join(
        f"{count}次用{'随机词向量' if name == 'random' else described(files[name])}" for name, count in counts.items()
    )


def vector_lines(results: list[dict]) -> str:
    """A line for each vector file that was used."""
    lines = {}
    for result in results:
        vector = result["data"]["vectors"]
        lines[vector["name"]] = vectors.describe(vector, result["config"]["DATASET"])
    return "\n".join(f"- {lines[name]}" for name in sorted(lines)) or f"词向量：{MISSING}。"


def reasons(verdicts: pd.DataFrame) -> str:
    """What the table of verdicts (``evidence.verdicts``) leaves open: why, for claims that it gives no numbers of."""
    lines = []
    names = {word: rows["claim"].map("“{}”".format).tolist() for word, rows in verdicts.groupby("verdict", sort=False)}
    if claims := names.get(evidence.NOT_COMPARABLE):
        lines.append(
            f"{''.join(claims)}不可比：两种维数的词向量对词元的覆盖率相差超过{plan.COVERAGE * 100:.0f}个百分点，差异不能归因于维数。"
        )
    for row in verdicts[verdicts["against"] > 0].itertuples():
        shown = [
            f"{plan.Pair(pair.better, pair.worse).label}{signed(100 * pair.difference)}（{evidence.p_text(pair.p_holm)}）"
            for pair in row.counterexamples.itertuples()
        ]
        lines.append(f"“{row.claim}”有方向相反且显著的配对（百分点）：{'；'.join(shown)}。")
    if single := verdicts[verdicts["single"] & (verdicts["n_seeds"] < 2)]["claim"].map("“{}”".format).tolist():
        lines.append(f"{''.join(single)}的各配对都只有一个种子，无法估计种子之间的波动。")
    if claims := names.get(MISSING):
        lines.append(f"{''.join(claims)}还没有可以比较的运行。")
    return "".join(lines)


def gain(model: str, before: str, after: str, pairs: list[tuple[dict, dict]]) -> str:
    """What ``after`` is worth beside ``before``, paired by seed; ``MISSING`` where no pair has been run."""
    if not pairs:
        return f"{model}{before}与{after}的比较：{MISSING}。"
    mean, half = evidence.gain(pairs)
    text = f"{model}{after}，测试准确率比{before}{'高' if mean > 0 else '低'}{abs(mean):.2f}个百分点"
    if half is None:
        return f"{text}（只有一个种子）。"
    verdict = "" if abs(mean) > half else "，区间含0，差异不显著"
    return f"{text}（{len(pairs)}个种子，95%区间{between(mean - half, mean + half)}{verdict}）。"


def worth(results: list[dict]) -> list[str]:
    """What GloVe and a language model to start from are worth, a sentence each."""
    lines = [
        gain(f"{base} 1-1", "用随机词向量", "用GloVe词向量", pairs) for base, pairs in random_pairs(results).items()
    ]
    return lines + [
        gain(reader_name(name), "只用词向量", "以语言模型初始化", pairs)
        for name, pairs in pretrained_pairs(results).items()
    ]


def settings(results: list[dict]) -> list[str]:
    """What other settings (gradient clipping …) are worth, a sentence each with every cell that ran with it."""
    found: dict[str, list[str]] = {}
    for each in changes(results):
        mean, half = evidence.gain(each.pairs)
        span = "只有一个种子" if half is None else f"{len(each.pairs)}个种子，{between(mean - half, mean + half)}"
        found.setdefault(each.label, []).append(f"{each.cell.label}{signed(mean)}（{span}）")
    lines = []
    for label, parts in found.items():
        only_clipped = label.startswith("`GRAD_CLIP=") and "，" not in label
        done = f"裁剪梯度（{label}）" if only_clipped else f"改取{label}"
        lines.append(f"{done}后，测试准确率的变化（百分点，括号内为种子数与95%区间）依次为：{'，'.join(parts)}。")
    return lines


def over_all_seeds(one: dict[int, dict], two: dict[int, dict]) -> str:
    """The differences of two cells (seed -> run) for each seed, beside which a single McNemar test is to be read."""
    shared = sorted(set(one) & set(two))
    values = [(one[seed]["test"]["accuracy"] - two[seed]["test"]["accuracy"]) * 100 for seed in shared]
    if len(values) < 2:
        return ""
    mean, half = evidence.over_seeds(values)
    shown = "、\u200b".join(map(signed, values))  # a line may break before a sign
    return (
        f"[表](#mcnemar)的末行只是一个种子的结果。同样两个配置在{len(values)}个种子上的差依次为{shown}个百分点，"
        f"平均{signed(mean)}，95%区间{between(mean - half, mean + half)}。"
    )


def mistakes(by_length: pd.DataFrame, matrix: np.ndarray) -> str:
    """Where the errors are: on long or on short reviews (``tables.length_table``), on which class (confusion matrix)."""
    lines = []
    for base, rows in by_length.groupby("base", sort=False):
        change = (rows.iloc[-1]["accuracy"] - rows.iloc[0]["accuracy"]) * 100
        lines.append(f"{base}{'高' if change > 0 else '低'}{abs(change):.1f}个百分点")
    text = f"最长一组影评的准确率与最短一组相比，{'，'.join(lines)}。" if lines else ""
    wrong = matrix[[0, 1], [1, 0]] / matrix.sum(1)
    more, end = ("与", "相等") if wrong[1] == wrong[0] else ("高于" if wrong[1] > wrong[0] else "低于", "")
    text += f"[图](#confusion)的混淆矩阵中，正面影评的误判率（{wrong[1]:.1%}）{more}负面影评的（{wrong[0]:.1%}）{end}。"
    return f"{text}这些只是描述，没有作检验。"


def control(results: list[dict], linear: list[dict]) -> str:
    """What the linear control says of the recurrent models, from the paired marks."""
    results = in_table(results)
    if not linear or not results:
        return f"线性对照：{MISSING}。"
    best, other = best_run(results), best_run(linear)
    found = evidence.mcnemar(record.right(other), record.right(best))
    return (
        f"线性模型`{other['run_id']}`的测试准确率为{other['test']['accuracy']:.2%}，{'高' if found.difference > 0 else '低'}于实验表中"
        f"验证损失最低的`{best['run_id']}`（{best['test']['accuracy']:.2%}），相差{abs(found.difference) * 100:.2f}个百分点；"
        f"在{best['test']['n']:,}篇测试影评上，{found.n10:,}篇只有线性模型判对，{found.n01:,}篇只有循环网络判对"
        f"（精确McNemar检验，{evidence.p_text(found.p)}）。"
    )


def optimism(by_base: dict[str, list[dict]]) -> str:
    """How far the accuracy on the validation part, by which epochs are chosen, is above that on the test part."""
    gaps = {base: mean_accuracy(runs, "valid") - mean_accuracy(runs) for base, runs in by_base.items() if runs}
    parts = [
        f"{base}的验证准确率平均比测试准确率{'高' if gap > 0 else '低'}{abs(gap) * 100:.2f}个百分点"
        for base, gap in gaps.items()
    ]
    return f"{'，'.join(parts)}。" if parts else ""


def repeated(results: list[dict], summary: dict) -> str:
    """How many reviews occur twice, and what leaving those out of the test part changes."""
    marks = record.unpack_bits(summary["test_repeated"], summary["sizes"]["test"])
    text = (
        f"带标签的影评中有{summary['repeated']}篇与另一篇完全相同；"
        f"测试集里有{summary['repeated_across_test']}篇也出现在训练集或验证集中。"
    )
    if results and marks.any():
        best = best_run(results)
        right = record.right(best)
        change = (right[~marks].mean() - right.mean()) * 100
        text += f"去掉这些测试影评后，`{best['run_id']}`的准确率由{right.mean():.2%}变为{right[~marks].mean():.2%}（{signed(change)}个百分点）。"
    return text


def mean_gap(runs: list[dict]) -> tuple[float, float]:
    """Mean of validation minus training loss in the chosen and in the last epoch (nats)."""
    chosen = [run["history"][run["best_epoch"] - 1] for run in runs]
    last = [run["history"][-1] for run in runs]
    return tuple(float(np.mean([e["valid_loss"] - e["train_loss"] for e in epochs])) for epochs in (chosen, last))


def abstract(dataset: str, results: list[dict], linear: list[dict], spoken: list[dict], verdicts) -> str:
    """The report in a few lines: what was done, the accuracies, the verdicts, what helps, the controls."""
    networks = [run for run in spoken if run["kind"] == "language_model"]
    table = by_cell(results)
    name = "程序生成的合成" if dataset == "sample" else "aclImdb"
    ground = f"。分类训练中，{runs_by_vectors(results)}" if results else ""
    lines = [
        f"**内容**　用循环神经网络对{name}影评作情感分类与语言建模，比较RNN与LSTM在不同层数、方向与词向量下的表现；"
        f"共完成{len(results)}次分类训练和{len(networks)}次语言模型训练{ground}。"
    ]
    cells = {base: list(table[base, 1, 1, 100].values()) for base in BASES}
    shown = [f"{base}为{mean_accuracy(runs):.2%}（{len(runs)}个种子）" for base, runs in cells.items() if runs]
    if shown:
        text = f"**准确率**　100维词向量、1层单向（记作1-1，即层数-方向数）时，测试准确率{'，'.join(shown)}。"
        if linear:
            text += f"作为对照，以词与相邻词对为特征的线性模型（TF-IDF加逻辑回归，不用词向量）为{mean_accuracy(linear):.2%}。"
        lines.append(text)
    groups = verdicts.groupby("verdict", sort=False)["claim"].apply(list)
    if set(groups.index) - {MISSING}:
        parts = [
            f"{len(claims)}条{word}（{''.join(f'“{claim}”' for claim in claims)}）" for word, claims in groups.items()
        ]
        lines.append(f"**结论**　课程参考报告的{len(verdicts)}条结论中，{'，'.join(parts)}。")
    if gains := [line for line in worth(results) if MISSING not in line]:
        lines.append(f"**词向量与初始化**　{''.join(gains)}这些比较在检验计划之外，未作多重比较校正。")
    if beyond.has_run(results):
        lines.append(f"**最强的分类器**　{beyond.strongest_sentence(results, linear)}")
    if text := perplexity.sentence(spoken):
        lines.append(f"**语言模型**　{text}")
    return "\n\n".join(lines)


def ranking(found: dict[str, list[dict]]) -> str:
    """The kinds of models (``cells.kinds`` and the strongest) in the order of their accuracy; nothing where there is only one."""
    means = sorted((mean_accuracy(runs), name) for name, runs in found.items() if runs)
    if len(means) < 2:
        return ""
    shown = "；".join(f"{name} {mean:.2%}" for mean, name in means)
    return f"1层的循环网络与线性模型按测试准确率由低到高为：{shown}。相邻两项的差异未必显著。"


def effort(results: list[dict], spoken: list[dict]) -> str:
    """Where the machine's time went."""
    hours = {
        "情感分类": sum(run["seconds"] for run in results) / 3600,
        "语言模型": sum(run["seconds"] for run in spoken if run["kind"] == "language_model") / 3600,
    }
    parts = [f"{name}{span:.1f}小时" for name, span in hours.items() if span]
    if not parts:
        return f"训练用时：{MISSING}。"
    return f"各次训练用时之和：{'，'.join(parts)}。"
