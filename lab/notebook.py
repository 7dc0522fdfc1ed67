"""Run one of the numbered notebooks through papermill."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lab import files
from lab.errors import LabError


def execute(name: str, output: Path, parameters: dict[str, Any]) -> None:
    """Execute ``notebooks/<name>`` in a fresh kernel and keep the executed notebook as ``output``.

    Raises ``LabError`` with the last line of what stopped the notebook.
    """
    import papermill

    files.make_folder(output.parent)
    try:
        papermill.execute_notebook(
            files.PROJECT / "notebooks" / name,
            output,
            parameters=parameters,
            kernel_name="python3",
            cwd=output.parent,
            progress_bar=False,
            extra_arguments=["--IPKernelApp.log_level=50"],  # the kernel's own remarks are not the user's
        )
    except papermill.PapermillExecutionError as error:
        reason = [line for line in str(error).splitlines() if line.strip()][-1].removeprefix("错误：")
        raise LabError(f"{reason}（执行到一半的笔记本：{output}）") from None
