"""From result files to the report: tables, sentences, and the run of ``05_results.ipynb`` that exports it."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from lab import files, statistics, theory, train
from lab.config import PARAMETERS, Config
from lab.data import vectors
from lab.data.reviews import Dataset
from lab.errors import LabError
from lab.export.figures import plain, show
from lab.notebook import execute

MISSING = "未运行"
BASES = ("RNN", "LSTM")
PART_NAMES = {"train": "训练集", "valid": "验证集", "test": "测试集"}
SAMPLE_NOTICE = "本报告的数字来自程序生成的人造影评（sample），只用来演示流程，不能当作真实影评上的结果。"
# Figures on the same test set from elsewhere, for context: accuracy in per cent, method, source.
PUBLISHED = [
    (47.87, "普通RNN，不打包变长序列", "bentrevett/pytorch-sentiment-analysis"),
    (85.28, "两层双向LSTM教程", "bentrevett/pytorch-sentiment-analysis"),
    (86.2, "两层双向LSTM教程（另一版）", "bentrevett/pytorch-sentiment-analysis"),
    (87.80, "词袋模型", "Maas等，2011"),
    (88.89, "词袋加由无标签影评学到的词向量", "Maas等，2011"),
    (91.22, "NBSVM-bi", "Wang与Manning，2012"),
    (92.76, "SA-LSTM", "Dai与Le，2015"),
    (94.06, "oh-2LSTMp", "Johnson与Zhang，2016"),
    (95.4, "ULMFiT", "Howard与Ruder，2018"),
]


# Results


def load_results(dataset: str, *kinds: str) -> list[dict]:
    """All result files of these ``kinds`` (classifiers by default) for ``dataset``, by run id; a broken one is a ``LabError``."""
    results = []
    for path in sorted(files.results_dir(dataset).glob("*.json")):
        result = files.read_json(path)
        if isinstance(result, dict) and result.get("kind") in (kinds or ("classifier",)):
            if result.get("schema") != train.SCHEMA:
                raise LabError(
                    f"结果文件{path}的格式版本是{result.get('schema')}，应为{train.SCHEMA}。请删除它并重新运行。"
                )
            results.append(result)
    return results


def load_summary(dataset: str) -> dict | None:
    """The data's description written by ``lab prepare``; None where data were never prepared."""
    path = files.result_path(dataset, "data")
    return files.read_json(path) if path.is_file() else None


def interval(result: dict) -> tuple[float, float]:
    """95 % Wilson interval of a run's test accuracy."""
    n = result["test"]["n"]
    return statistics.wilson(round(result["test"]["accuracy"] * n), n)


def probabilities(result: dict) -> np.ndarray:
    """(N,) probability of 'positive' of each test review."""
    return np.frombuffer(base64.b64decode(result["test"]["probability"]), dtype="<f2").astype(np.float64)


def unpack_summary(summary: dict) -> tuple[np.ndarray, np.ndarray]:
    """Labels and lengths (N,) of the test reviews, as the summary keeps them."""
    n = summary["sizes"]["test"]
    labels = np.unpackbits(np.frombuffer(base64.b64decode(summary["test_labels"]), dtype=np.uint8))[:n]
    return labels, np.frombuffer(base64.b64decode(summary["test_lengths"]), dtype="<u2")


# Tables


def config_table(config: Config) -> pd.DataFrame:
    """All parameters of a run with their meaning."""
    rows = [(f"`{name}`", str(getattr(config, name)), field.metadata["meaning"]) for name, field in PARAMETERS.items()]
    return pd.DataFrame(rows, columns=["参数", "取值", "意义"])


def accuracy_table(results: list[dict]) -> pd.DataFrame:
    """Test accuracy (%) of the lab sheet's cells with 95 % intervals; a cell that has not been run says so."""
    cells = statistics.by_cell(results)
    rows = []
    for layers, directions in sorted({(cell.layers, cell.directions) for cell in cells}):
        row = {"N_L-N_D": f"{layers}-{directions}"}
        for dim in (100, 300):
            for base in BASES:
                cell = (base, layers, directions, dim)
                row[f"{base} {dim}维"] = accuracy_text(list(cells[cell].values())) if cell in cells else "–"
        rows.append(row)
    return pd.DataFrame(rows)


def accuracy_text(runs: list[dict]) -> str:
    """One cell in per cent: accuracy with its 95 % interval, or mean ± standard deviation over seeds."""
    if not runs:
        return MISSING
    found = statistics.summary([run["test"]["accuracy"] * 100 for run in runs])
    if found.sd is None:
        low, high = interval(runs[0])
        return f"**{found.mean:.2f}** [{low * 100:.2f}, {high * 100:.2f}]"
    return f"**{found.mean:.2f}** ± {found.sd:.2f}（n={found.n}）"


def reference_table(results: list[dict]) -> pd.DataFrame:
    """Every cell beside the reference figure, and whether that lies in the 95 % interval of the same seed's run."""
    rows = []
    for cell, seeds in statistics.by_cell(results).items():
        reference = statistics.REFERENCE[cell]
        row = {
            "配置": cell.label,
            "参考": reference * 100,
            "本次（均值）": MISSING,
            "差": MISSING,
            "种子2077的区间": MISSING,
            "参考值在区间内": MISSING,
        }
        if seeds:
            mean = _accuracy(seeds.values())
            row |= {"本次（均值）": f"{mean * 100:.2f}", "差": f"{(mean - reference) * 100:+.2f}"}
        if 2077 in seeds:
            low, high = interval(seeds[2077])
            inside = statistics.reference_inside(reference, low, high)
            row |= {
                "种子2077的区间": f"[{low * 100:.2f}, {high * 100:.2f}]",
                "参考值在区间内": "是" if inside else "否",
            }
        rows.append(row)
    return pd.DataFrame(rows)


def in_table(results: list[dict]) -> list[dict]:
    """The runs of the lab sheet's cells in the table's order; controls and other settings are left out."""
    return [run for seeds in statistics.by_cell(results).values() for run in seeds.values()]


SHORT = 0.015  # this far below the reference, a cell is looked into


def short_cells(results: list[dict]) -> dict[statistics.Cell, list[dict]]:
    """The runs of every cell whose mean accuracy is more than ``SHORT`` below the reference."""
    return {
        cell: list(seeds.values())
        for cell, seeds in statistics.by_cell(results).items()
        if seeds and _accuracy(seeds.values()) < statistics.REFERENCE[cell] - SHORT
    }


def _accuracy(runs: Iterable[dict], part: str = "test") -> float:
    return float(np.mean([run[part]["accuracy"] for run in runs]))


def short_table(results: list[dict]) -> pd.DataFrame:
    """What became of the cells that fall short: losses of the chosen epoch and gradient norms, means over seeds."""
    rows = []
    for cell, runs in short_cells(results).items():
        chosen = [run["history"][run["best_epoch"] - 1] for run in runs]
        norms = gradient_norms(runs)
        up, of = rises(runs)
        rows.append(
            {
                "配置": cell.label,
                "与参考之差": f"{(_accuracy(runs) - statistics.REFERENCE[cell]) * 100:+.2f}",
                "选中的轮": "、".join(str(run["best_epoch"]) for run in runs),
                "训练损失": np.mean([epoch["train_loss"] for epoch in chosen]),
                "验证损失": np.mean([epoch["valid_loss"] for epoch in chosen]),
                "损失回升的轮": f"{up}/{of}",
                "梯度范数：中位": f"{norms[0]:.2f}" if norms else "–",
                "最大": f"{norms[1]:.1f}" if norms else "–",
            }
        )
    return pd.DataFrame(rows)


def short_sentence(results: list[dict]) -> str:
    """Which cells fall short, and what the evidence says of why: gradient norms, clipped runs, the vectors' coverage."""
    short = short_cells(results)
    limit = f"比参考低{SHORT * 100:.1f}个百分点以上"
    if not short:
        return f"没有一格的均值{limit}。"
    text = f"均值{limit}的有{len(short)}格：{'、'.join(cell.label for cell in short)}。"
    if norms := gradient_norms([run for runs in short.values() for run in runs]):
        text += (
            f"它们每步的梯度范数，最大值是中位数的{norms[1] / norms[0]:,.0f}倍；"
            "Adam把这样的一步记进梯度平方的滑动平均（衰减0.999），此后上千步的步长都被它压小。"
        )
    clipped = [
        (cell, before, after)
        for changed, cell, before, after in paired_settings(results)
        if cell in short and list(changed) == ["GRAD_CLIP"]
    ]
    if clipped:
        reference, before, after = (
            np.mean([statistics.REFERENCE[cell] for cell, _, _ in clipped]),
            np.mean([_accuracy(before) for _, before, _ in clipped]),
            np.mean([_accuracy(after) for _, _, after in clipped]),
        )
        closed = (after - before) / (reference - before)
        text += (
            f"其中{len(clipped)}格以相同的种子加上梯度裁剪再训练，测试准确率平均由{before:.2%}变为{after:.2%}"
            f"（参考为{reference:.2%}），"
        )
        text += f"补上缺口的{closed:.0%}" if closed > 0 else "缺口没有缩小"
        text += "：缺口主要来自偶发的大梯度。" if closed >= 0.5 else "：偶发的大梯度解释不了大半的缺口。"
    covered = {run["config"]["EMBEDDING_DIM"]: run["data"]["vectors"]["covered_tokens"] for run in in_table(results)}
    if any(cell.dim == 300 for cell in short) and covered.get(100, 0) > covered[300]:
        text += (
            f"300维的词向量只覆盖训练集词元的{covered[300]:.1%}，少于100维的{covered[100]:.1%}，"
            "其余的词从随机向量开始：300维的格不是在同样多的预训练词上比较。"
        )
    return text


def rises(runs: list[dict]) -> tuple[int, int]:
    """In how many epochs, of how many, the training loss went up: optimization stumbled, which is not overfitting."""
    losses = [[epoch["train_loss"] for epoch in run["history"]] for run in runs]
    steps = [after > before for each in losses for before, after in itertools.pairwise(each)]
    return sum(steps), len(steps)


def gradient_norms(runs: list[dict]) -> tuple[float, float] | None:
    """Median and largest gradient norm of the runs' steps; None where their files are older than these."""
    epochs = [epoch for run in runs for epoch in run["history"] if "grad_norm" in epoch]
    if not epochs:
        return None
    return float(np.median([epoch["grad_norm"] for epoch in epochs])), max(epoch["grad_norm_max"] for epoch in epochs)


def paired_settings(results: list[dict]) -> list[tuple[dict, statistics.Cell, list[dict], list[dict]]]:
    """Other settings (gradient clipping, dropout ...), the cell, its runs without them and with them, seed by seed."""
    tagged = [name for name, field in PARAMETERS.items() if field.metadata["tag"] and name != "PRETRAINED"]
    found = {}
    for result in results:
        config = result["config"]
        changed = {name: config[name] for name in tagged if config[name] != PARAMETERS[name].default}
        if changed:
            found[Config(**changed)] = changed
    plain_runs = statistics.by_cell(results)
    pairs = []
    for settings, changed in found.items():
        for cell, seeds in statistics.by_cell(results, settings).items():
            before = [plain_runs[cell][seed] for seed in seeds if seed in plain_runs[cell]]
            if seeds and len(before) == len(seeds):
                pairs.append((changed, cell, before, list(seeds.values())))
    return pairs


def settings_table(results: list[dict]) -> pd.DataFrame:
    """Runs with other settings beside those of the same cell and seeds without."""
    return pd.DataFrame(
        {
            "配置": cell.label,
            "改动": "，".join(f"`{name}={value:g}`" for name, value in changed.items()),
            "种子数": len(after),
            "验证准确率": f"{_accuracy(before, 'valid') * 100:.2f}→{_accuracy(after, 'valid') * 100:.2f}",
            "测试：默认": accuracy_text(before),
            "测试：改动后": accuracy_text(after),
            "差": f"{(_accuracy(after) - _accuracy(before)) * 100:+.2f}",
        }
        for changed, cell, before, after in paired_settings(results)
    )


def data_table(summary: dict) -> pd.DataFrame:
    """Size of each part: reviews, tokens, share of unknown ones, lengths."""
    rows = [
        {
            "部分": name,
            "影评数": f"{summary['sizes'][part]:,}",
            "词元数": f"{summary['tokens'][part]:,}",
            "未知词元": f"{summary['unknown_tokens'][part] / summary['tokens'][part]:.2%}",
            "长度中位数": summary["length_quantiles"][part][2],
            "最长": summary["length_quantiles"][part][5],
        }
        for part, name in PART_NAMES.items()
    ]
    return pd.DataFrame(rows)


LENGTH_BINS = (0, 100, 150, 200, 300, 500, 1000, 10**9)  # tokens


def length_table(results: list[dict], summary: dict) -> pd.DataFrame:
    """Test accuracy of each base's one-layer, one-direction cell by review length, over all its seeds.

    Columns: base, bin, reviews, accuracy, low, high (95 % Wilson interval of the reviews of one run).
    """
    _, lengths = unpack_summary(summary)
    place = np.digitize(lengths, LENGTH_BINS[1:-1])
    names = [f"{low + 1}–{high}" for low, high in itertools.pairwise(LENGTH_BINS)]
    names[0], names[-1] = f"≤{LENGTH_BINS[1]}", f">{LENGTH_BINS[-2]}"
    rows = []
    for base in BASES:
        runs = statistics.by_cell(results)[base, 1, 1, 100].values()
        if not runs:
            continue
        right = np.mean([statistics.unpack(run) for run in runs], axis=0)
        for at, name in enumerate(names):
            if n := int((place == at).sum()):
                accuracy = right[place == at].mean()
                low, high = statistics.wilson(round(accuracy * n), n)
                rows.append(dict(base=base, bin=name, reviews=n, accuracy=accuracy, low=low, high=high))
    return pd.DataFrame(rows, columns=["base", "bin", "reviews", "accuracy", "low", "high"])


def length_sentence(table: pd.DataFrame) -> str:
    """Caption of the accuracy by length: shortest against longest reviews, for each base."""
    parts = []
    for base, rows in table.groupby("base", sort=False):
        short, long = rows.iloc[0], rows.iloc[-1]
        parts.append(
            f"{base}在{short['bin']}个词元的影评上是{short['accuracy']:.1%}，在{long['bin']}个词元的影评上是{long['accuracy']:.1%}"
        )
    return "按影评长度的测试准确率（1层单向，100维，竖线为95%区间）：" + "；".join(parts)


def repeated_sentence(results: list[dict], summary: dict) -> str:
    """How many reviews occur twice, and what leaving those out of the test changes in the headline."""
    n = summary["sizes"]["test"]
    bits = np.frombuffer(base64.b64decode(summary["test_repeated"]), dtype=np.uint8)
    repeated = np.unpackbits(bits, count=n).astype(bool)
    text = (
        f"带标签的影评中有{summary['repeated']}篇与另一篇完全相同；"
        f"测试集里有{summary['repeated_across_test']}篇也出现在训练集或验证集中。"
    )
    if results and repeated.any():
        best = best_run(results)
        right = statistics.unpack(best)
        change = right[~repeated].mean() - right.mean()
        text += f"去掉这些测试影评后，`{best['run_id']}`的准确率由{right.mean():.2%}变为{right[~repeated].mean():.2%}（{change * 100:+.2f}个百分点）。"
    return text


def best_run(results: list[dict]) -> dict:
    """The run with the lowest validation loss."""
    return min(results, key=lambda result: result["valid"]["loss"])


def gap_sentence(results: list[dict]) -> str:
    """Caption of the overfitting gap: where it ends, for each base."""
    text = []
    for base in BASES:
        runs = [result for result in results if result["config"]["MODEL_BASE"] == base]
        if runs:
            chosen = [run["history"][run["best_epoch"] - 1] for run in runs]
            gap = np.mean([epoch["valid_loss"] - epoch["train_loss"] for epoch in chosen])
            last = np.mean([run["history"][-1]["valid_loss"] - run["history"][-1]["train_loss"] for run in runs])
            text.append(f"{base}在选中的一轮平均为{gap:.2f}，最后一轮为{last:.2f}")
    return "过拟合的差距（验证损失减训练损失），细线是各次运行：" + "；".join(text)


def calibration_sentence(labels: np.ndarray, result: dict) -> str:
    """Caption of the calibration: expected calibration error over ten bins, and the Brier score."""
    probability = probabilities(result)
    place = np.minimum((probability * 10).astype(int), 9)
    error = sum(
        abs(probability[place == at].mean() - labels[place == at].mean()) * (place == at).mean()
        for at in np.unique(place)
    )
    brier = np.mean((probability - labels) ** 2)
    return (
        f"`{result['run_id']}`的校准：概率与实际比例平均相差{error * 100:.1f}个百分点（expected calibration error），"
        f"Brier分数{brier:.3f}"
    )


def show_theory(name: str) -> None:
    """Display a figure of ``lab.theory`` from the tracked data that ``02_model.ipynb`` measured, if it did."""
    found = theory.load("gradients" if name == "shares" else name)
    if found is not None:
        show(getattr(theory, f"draw_{name}")(found), getattr(theory, f"say_{name}")(found), label=name)


def load_traces(dataset: str) -> dict | None:
    """What ``lab.traces`` wrote when the models were at hand; None where it did not."""
    path = files.result_path(dataset, "traces")
    return files.read_json(path) if path.is_file() else None


def traces_table(traces: dict) -> pd.DataFrame:
    """Name, true class and a short passage of each traced review."""
    rows = [
        {
            "影评": plain(review["name"]),
            "情形": review["kind"],
            "读完时的概率": "、".join(f"{base} {path[-1]:.2f}" for base, path in review["probability"].items()),
            "变化最大处": f"第{review['turn']}个词元：…{plain(review['passage'])}…",
        }
        for review in traces["reviews"]
    ]
    return pd.DataFrame(rows)


def control_table(results: list[dict], linear: list[dict]) -> pd.DataFrame:
    """The controls beside the cells they are compared with: random vectors, and a linear model without any."""
    rows = []
    for base in BASES:
        for vectors_name, name in (("glove.6B", "GloVe"), ("random", "随机词向量")):
            config = Config(MODEL_BASE=base, VECTORS=vectors_name)
            stem = config.run_id.replace(f"-s{config.SEED}", "-s{seed}")
            runs = [run for run in results if run["run_id"] == stem.format(seed=run["config"]["SEED"])]
            rows.append((f"{base}，1层单向，{name}", len(runs), accuracy_text(runs)))
    rows.append(("TF-IDF（词与词对）加逻辑回归", len(linear), accuracy_text(linear)))
    return pd.DataFrame(rows, columns=["模型", "运行数", "测试准确率（%）"])


def vectors_sentence(results: list[dict]) -> str:
    """What pre-trained vectors are worth: their accuracy minus that of random ones, seed by seed, for each base."""
    lines = []
    for base in BASES:
        kin = [run for run in results if run["config"]["MODEL_BASE"] == base and run["config"]["VECTORS"] == "random"]
        random = {run["config"]["SEED"]: run for run in kin}
        cell = statistics.by_cell(results)[base, 1, 1, 100]
        pairs = [(run, random[seed]) for seed, run in cell.items() if seed in random]
        lines.append(f"{base}用GloVe比用随机词向量，{statistics.gain_text(pairs)}" if pairs else f"{base}：{MISSING}")
    return "；".join(lines) + "。"


def control_sentence(results: list[dict], linear: list[dict]) -> str:
    """What the linear control says of the recurrent models, from the paired marks."""
    if not linear or not results:
        return f"线性对照：{MISSING}。"
    best, control = best_run(results), min(linear, key=lambda result: result["valid"]["loss"])
    found = statistics.mcnemar(statistics.unpack(control), statistics.unpack(best))
    n = best["test"]["n"]
    word = "高于" if found.difference > 0 else "低于"
    return (
        f"线性模型的测试准确率{control['test']['accuracy']:.2%}，{word}循环网络中验证损失最低的`{best['run_id']}`"
        f"（{best['test']['accuracy']:.2%}），相差{abs(found.difference) * 100:.2f}个百分点；"
        f"在{n:,}篇测试影评上，{found.n10:,}篇只有线性模型判对，{found.n01:,}篇只有循环网络判对（精确McNemar检验{statistics.p_text(found.p)}）。"
    )


def published_table(results: list[dict], linear: list[dict]) -> pd.DataFrame:
    """Published accuracies on the same test set; among them ours, each the run of lowest validation loss of its kind."""
    rows = [(accuracy, method, source) for accuracy, method, source in PUBLISHED]
    pretrained = [run for run in results if run["config"]["PRETRAINED"]]
    kinds = {"实验表": in_table(results), "以语言模型为起点": pretrained, "不看词序的线性模型": linear}
    for name, runs in kinds.items():
        if runs and runs[0]["config"]["DATASET"] == "aclImdb":
            best = best_run(runs)
            rows.append((best["test"]["accuracy"] * 100, f"**本实验**，{name}：`{best['run_id']}`", "本报告"))
    return pd.DataFrame(sorted(rows), columns=["准确率（%）", "方法", "来源"])


def environment_table(results: list[dict], summary: dict | None) -> pd.DataFrame:
    """What the figures were made with: every distinct version, processor and fingerprint among the runs."""
    found: dict[str, set] = {}
    for result in results:
        for name, version in result["versions"].items():
            found.setdefault(name, set()).add(version)
        found.setdefault("处理器", set()).add(f"{result['processor']}，{result['threads']}线程")
        found.setdefault("数据指纹（随种子而异）", set()).add(result["data"]["fingerprint"])
    if not results and summary:
        found["数据指纹（随种子而异）"] = {summary["fingerprint"]}
    return pd.DataFrame(
        [(name, "；".join(sorted(values))) for name, values in found.items()] or [(MISSING, MISSING)],
        columns=["项目", "取值"],
    )


# Sentences made of numbers


def foundation(dataset: str, results: list[dict], summary: dict | None) -> str:
    """What the report's figures stand on, in the first lines of it."""
    if dataset == "sample":
        lines = [f"> **注意：{SAMPLE_NOTICE}**"]
    else:
        lines = [f"> 本报告的数字来自真实的aclImdb影评，共有{len(results)}次运行的结果。{standing(results)}。"]
    missing = sum(not seeds for seeds in statistics.by_cell(results).values())
    if missing:
        lines.append(f"> 实验表的{len(statistics.REFERENCE)}格中还有{missing}格未运行。")
    return "\n>\n".join(lines)


def standing(results: list[dict]) -> str:
    """The vectors and data behind a set of runs, for captions."""
    if not results:
        return "还没有运行"
    facts = {}
    for result in results:
        vector = result["data"]["vectors"]
        if vector["name"] != "random":
            kind = "完整" if vector["complete"] else f"子集，{vector['words']:,}个词"
            facts[vector["name"]] = f"{vector['name']}（{kind}，覆盖训练集词元的{vector['covered_tokens']:.1%}）"
    data = "人造影评sample" if results[0]["config"]["DATASET"] == "sample" else "aclImdb"
    return f"数据为{data}，词向量为{'、'.join(facts[name] for name in sorted(facts)) or '随机向量'}"


def vector_sentences(results: list[dict]) -> str:
    """A line for each vector file that was used."""
    lines = {}
    for result in results:
        vector = result["data"]["vectors"]
        lines[vector["name"]] = vectors.describe(vector, result["config"]["DATASET"])
    return "\n".join(f"- {lines[name]}" for name in sorted(lines)) or f"词向量：{MISSING}。"


def headline(results: list[dict]) -> str:
    """The best run by validation loss, of each base, with its test accuracy."""
    sentences = []
    for base in BASES:
        runs = [result for result in results if result["config"]["MODEL_BASE"] == base]
        if not runs:
            sentences.append(f"{base}：{MISSING}。")
            continue
        best = best_run(runs)
        low, high = interval(best)
        sentences.append(
            f"{base}中验证损失最低的是`{best['run_id']}`，测试准确率{best['test']['accuracy']:.2%}，"
            f"95%的Wilson区间[{low:.2%}, {high:.2%}]（{best['test']['n']:,}篇测试影评）。"
        )
    return "".join(sentences) + "每格方括号内是同样的区间；有多个种子时给出均值±标准差，n是种子数。"


def one_seed(results: list[dict]) -> list[dict]:
    """The table's runs of one seed (the smallest), in the table's order."""
    cells = statistics.by_cell(results)
    seeds = sorted({seed for runs in cells.values() for seed in runs})
    return [runs[seeds[0]] for runs in cells.values() if seeds and seeds[0] in runs]


def curves_sentence(results: list[dict]) -> str:
    """What the learning curves show: when the chosen epochs come, and how far the losses part."""
    text = []
    for base in BASES:
        runs = [result for result in results if result["config"]["MODEL_BASE"] == base]
        if runs:
            epochs = sorted({run["best_epoch"] for run in runs})
            span = "、".join(map(str, epochs))
            gap = np.mean([run["history"][-1]["valid_loss"] - run["history"][-1]["train_loss"] for run in runs])
            text.append(f"{base}选中的是第{span}轮，最后一轮的验证损失平均比训练损失高{gap:.2f}")
    return "学习曲线：" + "；".join(text)


def conclusion(results: list[dict], verdicts: pd.DataFrame, *more: str) -> str:
    """The closing section, from the numbers; ``more`` are sentences of other sections that belong there, empty ones left out."""
    if not results:
        return f"{MISSING}。"
    cells = statistics.by_cell(results)
    means = {cell: _accuracy(runs.values()) for cell, runs in cells.items() if runs}
    lines = []
    pairs = [(cell, cell._replace(base="RNN")) for cell in means if cell.base == "LSTM"]
    gaps = [(means[lstm] - means[rnn]) * 100 for lstm, rnn in pairs if rnn in means]
    if gaps:
        lines.append(
            f"在{len(gaps)}组相同的层数、方向与维数下，LSTM的测试准确率比RNN高{min(gaps):.1f}至{max(gaps):.1f}个百分点。"
        )
    for word in ("成立", "不成立", "证据不足", MISSING):
        names = verdicts.loc[verdicts["verdict"] == word, "hypothesis"]
        if len(names):
            lines.append(f"参考报告的结论中{word}的有：{'、'.join(names)}。")
    lines += filter(None, more)
    lines.append(
        "一次运行的准确率有两种误差：测试影评有限带来的误差（表中的区间）和换一个随机种子带来的波动；小于它们的差别不能当作结论。"
    )
    return "\n".join(f"{at}. {line}" for at, line in enumerate(lines, 1))


# Tables of single runs


def runs_table(results: list[dict]) -> pd.DataFrame:
    """A row per run: chosen epoch, validation and test figures, time."""
    rows = [
        {
            "运行": f"`{result['run_id']}`",
            "选中的轮": result["best_epoch"],
            "验证损失": f"{result['valid']['loss']:.4f}",
            "验证准确率（%）": result["valid"]["accuracy"] * 100,
            "测试准确率（%）": accuracy_text([result]),
            "用时（分）": result["seconds"] / 60,
        }
        for result in results
    ]
    return pd.DataFrame(rows)


def films_sentence(results: list[dict]) -> str:
    """How much higher validation accuracy is than test accuracy, and why."""
    gap = (_accuracy(results, "valid") - _accuracy(results)) * 100
    text = f"这些运行的验证准确率平均比测试准确率{'高' if gap > 0 else '低'}{abs(gap):.1f}个百分点"
    if gap > 0 and results[0]["config"]["DATASET"] == "aclImdb":
        text += (
            "：测试集里的电影不出现在训练影评里（Maas等，2011），而验证集是从训练影评中划出来的，"
            "同一部电影的其他影评就在训练集里"
        )
    return text + "。"


def confusion_matrix(labels: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """(2, 2) counts: rows true negative/positive, columns judged negative/positive."""
    return np.histogram2d(labels, probability > 0.5, bins=(2, 2), range=((0, 1), (0, 1)))[0].astype(int)


def class_counts(dataset: Dataset) -> np.ndarray:
    """(2, V) occurrences of each word in negative and positive training reviews; specials count 0."""
    train_part = dataset.train
    label = np.repeat(train_part.labels, train_part.lengths)
    counts = np.stack(
        [np.bincount(train_part.tokens[label == each], minlength=len(dataset.vocabulary)) for each in (0, 1)]
    )
    counts[:, :2] = 0
    return counts


def raw_review(config: Config, reviews, index: int) -> str:
    """The text of a training or validation review as it is in the source."""
    from lab.data import sources, text

    key = (reviews.labels[index], reviews.numbers[index], reviews.ratings[index])
    found = sources.read_reviews(sources.find_reviews(config.DATASET), ("train",))["train"]
    return next(text.decode(review.text, reviews.name(index)) for review in found if review[:3] == key)


# The report itself


def report_dir(dataset: str) -> Path:
    """Folder of ``report.html`` and ``report.pdf``: ``report/``, for the sample below ``runs/``."""
    return files.runs_dir(dataset) / "report" if dataset == "sample" else files.home() / "report"


def build(dataset: str, **parameters) -> list[Path]:
    """Execute ``05_results.ipynb`` on the result files that exist and export it; returns the files written."""
    import nbformat
    from nbconvert import get_exporter

    Config(DATASET=dataset)  # refuse an unknown data set before anything is written
    executed = files.runs_dir(dataset) / "05_results.ipynb"
    execute("05_results.ipynb", executed, dict(DATASET=dataset) | parameters)
    notebook = nbformat.read(executed, as_version=4)
    results = load_results(dataset)
    notebook.metadata["lab"] = dict(
        course="深度学习课程实验三",
        author=parameters.get("NAME", ""),
        student_id=parameters.get("STUDENT_ID", ""),
        date=parameters.get("DATE") or max((result["finished"][:10] for result in results), default=""),
        notice=SAMPLE_NOTICE if dataset == "sample" else "",
    )
    nbformat.write(notebook, executed)
    written = []
    for kind in ("html", "pdf"):
        content, _ = get_exporter(f"lab_{kind}")().from_notebook_node(notebook)
        path = report_dir(dataset) / f"report.{kind}"
        with files.whole(path) as file:
            file.write(content if isinstance(content, bytes) else content.encode())
        written.append(path)
    return written
