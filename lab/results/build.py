"""The report: execute ``05_results.ipynb`` on the result files and export it."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lab import files, record
from lab.config import Config
from lab.data import sample
from lab.errors import LabError
from lab.notebook import execute

KINDS = ("html", "pdf", "docx")


def report_dir(dataset: str) -> Path:
    """Folder of ``report.html``, ``report.pdf`` and ``report.docx``: ``report/``, for the sample below ``runs/``."""
    return files.runs_dir(dataset) / "report" if dataset == "sample" else files.home() / "report"


def cover(**given: str | None) -> dict[str, str]:
    """Name, student_id and date of the cover: what is given, else what was given before (``report/cover.json``)."""
    path = files.home() / "report" / "cover.json"
    known = files.read_json(path) if path.is_file() else {}
    if not isinstance(known, dict) or not all(isinstance(text, str) for text in known.values()):
        raise LabError(f"文件{path}已损坏：应是封面上的姓名、学号和日期。请删除它，再用--name等选项写一次。")
    found = known | {name: text for name, text in given.items() if text is not None}
    if found != known:
        files.write_json(path, found)
    return found


def build(dataset: str, **given: str | None) -> list[Path]:
    """Execute ``05_results.ipynb`` on the result files that exist and export it; returns the files written.

    ``given`` are name, student_id and date of the cover.
    """
    import nbformat
    import papermill  # noqa: F401 - before the thread below: two threads that import Jupyter's parts can meet half-made modules

    dataset = Config(DATASET=dataset).DATASET  # its canonical name; an unknown one is refused
    executed = files.runs_dir(dataset) / "05_results.ipynb"
    facts = cover(**given)
    parameters = {name.upper(): facts.get(name, "") for name in ("name", "student_id", "date")}
    with ThreadPoolExecutor() as pool:
        exporters = pool.submit(load_exporters)  # while the kernel works
        values = dict(DATASET=dataset) | parameters
        notebook = execute("05_results.ipynb", executed, values, brief=True)
        results = record.load(dataset)
        notebook.metadata["lab"] = dict(
            course="深度学习课程实验三",
            author=parameters["NAME"],
            student_id=parameters["STUDENT_ID"],
            date=parameters["DATE"] or max((result["finished"][:10] for result in results), default=""),
            numbered=True,
            notice=sample.NOTICE if dataset == "sample" else "",
        )
        nbformat.write(notebook, executed)
        exporters = [exporter() for exporter in exporters.result()]
        tree, media, _ = exporters[0].read(notebook)  # once for all
        trees = [json.loads(json.dumps(tree)) for _ in exporters]  # each changes its own
        contents = pool.map(lambda exporter, own: exporter.write(own, media), exporters, trees)
        written = []
        for kind, content in zip(KINDS, contents, strict=True):
            path = report_dir(dataset) / f"report.{kind}"
            with files.atomic_write(path) as file:
                file.write(content if isinstance(content, bytes) else content.encode())
            written.append(path)
    return written


def load_exporters() -> list[type]:
    """The exporter of each of ``KINDS``; loading them and the tables of their fonts takes two seconds."""
    from nbconvert import get_exporter

    from lab.export import tools

    for file in tools.font_files():
        tools.characters(file)
    return [get_exporter(f"lab_{kind}") for kind in KINDS]
