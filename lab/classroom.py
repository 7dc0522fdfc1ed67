"""For teachers: the notebooks without their solutions, and whether handed-in result files hold what they say."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from lab import files, record
from lab.errors import LabError

# A solution stands between nbgrader's marks; in Markdown they are comments.
SOLUTION = re.compile(
    r"^([ \t]*)(?:### BEGIN SOLUTION|<!-- BEGIN SOLUTION -->)[ \t]*\n.*?^[ \t]*(?:### END SOLUTION|<!-- END SOLUTION -->)[ \t]*$",
    re.MULTILINE | re.DOTALL,
)
STUBS = {
    "code": '# 在这里写你的代码\nraise NotImplementedError("这个单元格还没有完成")',
    "markdown": "*在这里写你的答案。*",
}


def handout(folder: Path) -> list[tuple[Path, int]]:
    """Copy the notebooks to ``folder`` with their marked solutions blanked; returns each copy and its number of blanks.

    Raises ``LabError`` where the folder holds notebooks already.
    """
    import nbformat

    if any(folder.glob("*.ipynb")):
        raise LabError(f"{folder}里已有笔记本，不会覆盖。请换一个空文件夹。")
    files.make_folder(folder)
    copies = []
    for path in sorted((files.PROJECT / "notebooks").glob("*.ipynb")):
        notebook, blanks = nbformat.read(path, as_version=4), 0
        for cell in notebook.cells:
            cell.source, found = SOLUTION.subn(lambda mark, kind=cell.cell_type: _stub(mark, kind), cell.source)
            blanks += found
        with files.atomic_write(folder / path.name, "w") as file:
            nbformat.write(notebook, file)
        copies.append((folder / path.name, blanks))
    return copies


def _stub(mark: re.Match, kind: str) -> str:
    return "\n".join(mark[1] + line for line in STUBS[kind].split("\n"))


def verify(path: Path) -> str:
    """One line on a handed-in result file that is consistent in itself and with the class's data; ``LabError`` on others.

    ``record.read`` compares the file's accuracy with its bits, its name with its configuration and its history with the
    chosen epoch. Here the bits are compared with the probabilities, by the labels in the class's summary of the data.
    """
    if not path.is_file():
        raise LabError(f"没有文件{path}。")
    result = record.read(path)
    if not isinstance(result, dict) or "kind" not in result:
        raise LabError(f"{path}不是一次运行的结果文件。")
    if "test" not in result:
        return f"{result['run_id']}：前后一致。"
    accuracy, facts = f"测试准确率{result['test']['accuracy']:.2%}", record.summary(result["data"]["dataset"])
    if facts is None:
        return f"{result['run_id']}：前后一致，{accuracy}；没有本班的数据可以比较，请先运行uv run lab prepare。"
    labels, _ = record.summary_labels(facts)
    if len(labels) != result["test"]["n"]:
        raise LabError(f"{path}有{result['test']['n']:,}篇测试影评，本班的数据有{len(labels):,}篇。")
    shares = record.probabilities(result)
    doubtful = np.abs(shares - 0.5) < 1e-3  # half precision may have rounded these to the other side
    wrong = int((((shares > 0.5) == labels) != record.right(result))[~doubtful].sum())
    if wrong:
        raise LabError(f"{path}中{wrong:,}篇影评的对错与概率不符：概率或对错记录被改过，或者测试影评与本班的不同。")
    same = result["config"]["SEED"] != facts["seed"] or result["data"]["fingerprint"] == facts["fingerprint"]
    if not same:
        raise LabError(
            f"{path}的数据指纹是{result['data']['fingerprint']}，本班同一种子的是{facts['fingerprint']}：影评、划分或词表不同。"
        )
    return f"{result['run_id']}：前后一致，与本班的数据相符，{accuracy}。"
