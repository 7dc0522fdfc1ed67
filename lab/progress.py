"""Progress of a run: tqdm's bars in a terminal; in a notebook one output that is redrawn, and is saved with it.

tqdm's own bars for notebooks are widgets, which are dead when the notebook is opened again.
"""

from __future__ import annotations

import base64
import contextlib
import html
import io
import sys
import time
from collections.abc import Callable, Iterator

from tqdm.std import tqdm as Bar

REDRAW = 2.0  # seconds between two pictures of the losses
METADATA = {"lab": {"kind": "progress"}}  # by which the exporters leave an output out


def bar(*args, history: list[dict] | None = None, **options) -> Bar:
    """A progress bar with tqdm's arguments; in a notebook the losses of ``history`` are drawn below it as they come."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if not hasattr(shell, "kernel"):  # a terminal, or IPython in one
        return Bar(*args, **options)
    return NotebookBar(*args, history=history, **options)


@contextlib.contextmanager
def shown_by(show: Callable[[str], None]) -> Iterator[None]:
    """Hand the HTML of progress to ``show`` instead of making it an output: for what a button does."""
    Output.show, NotebookBar.output = show, None
    try:
        yield
    finally:
        Output.show = None


class NotebookBar(Bar):
    """A bar that is a line of the running cell's progress output."""

    output: Output | None = None  # of the cell that runs: there is one at a time

    def __init__(self, *args, history=None, **options):
        from IPython import get_ipython

        cell = get_ipython().execution_count
        if NotebookBar.output is None or NotebookBar.output.cell != cell:
            NotebookBar.output = Output(cell)
        if history is not None:
            self.output.history = history
        super().__init__(*args, file=io.StringIO(), mininterval=0.5, ascii=False, **options)  # never cut

    def display(self, msg=None, pos=None):
        """Redraw the output; tqdm calls it when the bar has something new to say."""
        self.output.lines[id(self)] = self
        self.output.redraw()

    def close(self):
        """Take the line away, or leave it as it is if it is an outermost one."""
        if getattr(self, "disable", True):  # closed, or never begun
            return
        self.disable = True
        self._decr_instances(self)
        if self.leave is False:
            self.output.lines.pop(id(self), None)
        self.output.redraw(finally_=self.leave is not False)


class Output:
    """The progress output of a cell: a line a bar, and the losses so far."""

    show: Callable[[str], None] | None = None  # see ``shown_by``

    def __init__(self, cell: int):
        self.cell, self.history = cell, None
        self.lines: dict[int, Bar] = {}  # by id: to tqdm, bars at the same place are equal
        self.handle, self.curve, self.drawn = None, "", 0.0

    def redraw(self, finally_: bool = False) -> None:
        """Show the lines; the losses are drawn anew now and then, and ``finally_``."""
        from IPython.display import display

        if self.history and (finally_ or time.monotonic() - self.drawn > REDRAW):
            self.curve, self.drawn = curve(self.history), time.monotonic()
        text = "\n".join(map(str, self.lines.values()))
        lines = f"<pre>{html.escape(text)}</pre>" if text else ""
        content = {"text/plain": text, "text/html": lines + self.curve}
        if Output.show is not None:
            Output.show(content["text/html"])
        elif self.handle is None:
            self.handle = display(content, raw=True, metadata=METADATA, display_id=True)
        else:
            self.handle.update(content, raw=True, metadata=METADATA)


def curve(history: list[dict]) -> str:
    """The losses of ``history`` against its epochs or stages, as an HTML picture that needs no kernel."""
    from matplotlib.figure import Figure

    from lab.export import figures

    figures.use_style()  # its fonts have Chinese
    figure = Figure(figsize=(4.8, 2.2), layout="constrained")
    axes = figure.subplots()
    steps = range(1, len(history) + 1)
    for name, label, line in (("train_loss", "训练", ":"), ("valid_loss", "验证", "-")):
        axes.plot(steps, [past[name] for past in history], line, color=figures.PALETTE[0], marker=".", label=label)
    kind = ("轮", "损失（nat/篇）") if "epoch" in history[0] else ("阶段", "损失（nat/词元）")
    axes.set(xlabel=kind[0], ylabel=kind[1])
    axes.legend()
    axes.xaxis.get_major_locator().set_params(integer=True)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return f'<img alt="到目前为止的损失" src="data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}">'
