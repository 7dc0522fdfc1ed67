"""The one exception a lab user sees: a single Chinese line that names value, place and way out."""

from __future__ import annotations


class LabError(Exception):
    """Something the user can mend; its message is one Chinese line."""

    def _render_traceback_(self) -> list[str]:
        # IPython asks an exception for its own rendering: one line instead of a traceback.
        return [f"错误：{self}"]


class Stopped(KeyboardInterrupt):
    """A run that the user has stopped: one line in a notebook too."""

    def __init__(self):
        super().__init__("已停止；再次运行会从停下的地方继续。")

    def _render_traceback_(self) -> list[str]:
        return [str(self)]
