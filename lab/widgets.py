"""What reacts to clicks in a notebook: the buttons of the first page, and the box for a review of one's own.

What a click brings is shown as plain HTML, so that it can be saved, exported and read without a kernel.
"""

from __future__ import annotations

import contextlib
import html
import io
import os

import ipywidgets
from IPython.display import HTML, display

from lab import progress, record
from lab.config import Config
from lab.errors import LabError

WIDE = ipywidgets.Layout(width="auto")


class Box(ipywidgets.VBox):
    """A column of controls that says what to do where no kernel shows it."""

    def __repr__(self):
        return "（重新运行这个单元格，才会出现输入框和按钮）"


def review_box(model, vocabulary: list[str], text: str) -> None:
    """A box for a review and a button; the coloured words stand below as an output of the cell.

    ``model`` and ``vocabulary`` are those of ``lab.training.runs.load_run``.
    """
    box = ipywidgets.Textarea(text, layout=ipywidgets.Layout(width="98%", height="7em"))
    button = ipywidgets.Button(description="判断这篇影评", button_style="primary", layout=WIDE)
    column = ipywidgets.Layout(align_items="flex-start")
    display(Box([box, button], layout=column), metadata=progress.METADATA)  # the exporters leave it out
    shown = display(HTML(judged(model, vocabulary, text)), display_id=True)
    button.on_click(lambda _: shown.update(HTML(judged(model, vocabulary, box.value))))


def judged(model, vocabulary: list[str], text: str) -> str:
    """The coloured words of ``text`` and the verdict on it, or what is wrong with it, as HTML."""
    from lab.model import classifier
    from lab.results import words

    try:
        tokens, numbers = classifier.encode_text(vocabulary, text)
    except LabError as error:
        return f"<p>{html.escape(str(error))}</p>"
    path = classifier.prefix_probabilities(model, numbers)
    return f"{words.colored(tokens, path)}<p>{words.legend(path)}。</p>"


def first_page() -> None:
    """Buttons that prepare data or train a first model, with their progress, and what is done so far."""
    folder = ipywidgets.Text(
        placeholder="含有aclImdb影评与glove.6B.zip的文件夹", layout=ipywidgets.Layout(width="24em")
    )
    report = ipywidgets.HTML(so_far())
    tasks = {
        "用内置样例训练第一个模型": first_model,
        "准备真实影评（缺少时下载约1GB）": lambda: prepare("aclImdb"),
        "用这个文件夹里的数据": lambda: prepare("aclImdb", folder.value),
    }
    buttons = [ipywidgets.Button(description=name, layout=WIDE) for name in tasks]
    buttons[0].button_style = "primary"

    def clicked(button):
        for each in buttons:
            each.disabled = True
        report.value = run(tasks[button.description], report) + so_far()
        for each in buttons:
            each.disabled = False

    for button in buttons:
        button.on_click(clicked)
    rows = [ipywidgets.HBox(buttons[:2]), ipywidgets.HBox([folder, buttons[2]]), report]
    display(Box(rows), metadata=progress.METADATA)


def run(task, report: ipywidgets.HTML) -> str:
    """Do ``task`` with its progress in ``report``; returns what it said, as HTML."""
    said = io.StringIO()
    try:
        with progress.shown_by(lambda page: setattr(report, "value", page)), contextlib.redirect_stdout(said):
            task()
    except (LabError, KeyboardInterrupt) as error:
        said.write(str(error))
    return "".join(f"<p>{html.escape(line)}</p>" for line in said.getvalue().splitlines())


def first_model() -> None:
    """Train the default LSTM on the built-in sample."""
    from lab.data import cache, summary
    from lab.training import runs

    config = Config(DATASET="sample", MODEL_BASE="LSTM")
    summary.write(config, cache.load(config))
    result = runs.run(config)
    print(f"模型{result['run_id']}已训练好，测试准确率{result['test']['accuracy']:.1%}（合成影评，只用来演示流程）。")


def prepare(dataset: str, folder: str = "") -> None:
    """Prepare ``dataset``, from ``folder`` where one is given."""
    from lab.data import summary

    if folder:
        os.environ["LAB_DATA"] = folder
    summary.prepare(dataset, 2077, print)


def so_far() -> str:
    """What has been prepared and trained, as HTML."""
    rows = [("th", "数据", "状态", "已有的训练结果")]
    for dataset, name in (("sample", "内置样例"), ("aclImdb", "真实影评")):
        state = "已准备" if record.summary(dataset) else "未准备"
        rows.append(("td", name, state, f"{len(record.load(dataset))}次"))
    style = "text-align: left; padding-right: 2em"
    cells = ["".join(f'<{tag} style="{style}">{each}</{tag}>' for each in row) for tag, *row in rows]
    return f"<table>{''.join(f'<tr>{row}</tr>' for row in cells)}</table>"
