"""Run one of the numbered notebooks through papermill; show the lab's code in one."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

from lab import files
from lab.errors import LabError


def execute(name: str, output: Path, parameters: dict[str, Any], brief: bool = False):
    """Execute ``notebooks/<name>`` in a fresh kernel, keep the executed notebook as ``output`` and return it.

    A ``brief`` one, of seconds with many pictures, is written at the end only, and its kernel collects no garbage: each
    of the two would take a tenth of the time. Raises ``LabError`` with the last line of what stopped the notebook.
    """
    import papermill

    files.make_folder(output.parent)
    options = ["--IPKernelApp.log_level=50"]  # the kernel's own remarks are not the user's
    if brief:
        options.append("--IPKernelApp.exec_lines=import gc; gc.disable()")
    try:
        return papermill.execute_notebook(
            files.PROJECT / "notebooks" / name,
            output,
            parameters=parameters,
            kernel_name="python3",
            cwd=output.parent,
            progress_bar=False,
            request_save_on_cell_execute=not brief,
            extra_arguments=options,
        )
    except papermill.PapermillExecutionError as error:
        reason = [line for line in str(error).splitlines() if line.strip()][-1].removeprefix("错误：")
        raise LabError(f"{reason}（执行到一半的笔记本：{output}）") from None


def source(*names: str):
    """Functions and classes of the lab, as ``"model.bptt.states"``, for display in Markdown.

    Docstrings and remarks to the linter are left out.

    The file is read, not imported. Raises ``KeyError`` for a name that the module does not define.
    """
    from IPython.display import Markdown

    code = "\n\n\n".join(map(_definition, names))
    return Markdown(f"```python\n{code}\n```")


def _definition(name: str) -> str:
    module, _, name = name.rpartition(".")
    text = Path(__file__).parent.joinpath(*module.split(".")).with_suffix(".py").read_text(encoding="utf-8")
    found = {node.name: node for node in ast.parse(text).body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    node, lines = found[name], text.splitlines()
    hidden = set()
    for each in ast.walk(node):
        if isinstance(each, (ast.FunctionDef, ast.ClassDef)) and ast.get_docstring(each):
            first = each.body[0]
            hidden |= set(range(first.lineno, first.end_lineno + 1))
            if not lines[first.end_lineno].strip():
                hidden.add(first.end_lineno + 1)  # the blank line below
    return "\n".join(
        line.partition("  # noqa")[0]
        for at, line in enumerate(lines[: node.end_lineno], 1)
        if at >= node.lineno and at not in hidden
    )
