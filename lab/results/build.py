"""The report: execute ``05_results.ipynb`` on the result files and export it."""

from __future__ import annotations

from pathlib import Path

from lab import files, record
from lab.config import Config
from lab.notebook import execute
from lab.results.sentences import SAMPLE_NOTICE


def report_dir(dataset: str) -> Path:
    """Folder of ``report.html`` and ``report.pdf``: ``report/``, for the sample below ``runs/``."""
    return files.runs_dir(dataset) / "report" if dataset == "sample" else files.home() / "report"


def build(dataset: str, **parameters) -> list[Path]:
    """Execute ``05_results.ipynb`` on the result files that exist and export it; returns the files written."""
    import nbformat
    from nbconvert import get_exporter

    dataset = Config(DATASET=dataset).DATASET  # its canonical name; an unknown one is refused
    executed = files.runs_dir(dataset) / "05_results.ipynb"
    execute("05_results.ipynb", executed, dict(DATASET=dataset) | parameters)
    notebook = nbformat.read(executed, as_version=4)
    results = record.load(dataset)
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
        with files.atomic_write(path) as file:
            file.write(content if isinstance(content, bytes) else content.encode())
        written.append(path)
    return written
