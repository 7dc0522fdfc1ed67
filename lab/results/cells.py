"""The cells of the lab sheet's table, the reference figures, and which result files belong to which cell."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

from lab.config import Config


class Cell(NamedTuple):
    """One entry of the reference table; equal to the plain tuple of its four values."""

    base: str
    layers: int
    directions: int
    dim: int

    @property
    def label(self) -> str:
        """The name a reader sees, in the notation N_L-N_D of the reference table."""
        return f"{self.base} {self.layers}-{self.directions}（{self.dim}维）"


# Test accuracies of the reference report (one run each, seed 2077): lab sheet, section "Reference figures".
REFERENCE: dict[Cell, float] = {
    Cell(base, layers, directions, dim): round(percent / 100, 4)
    for layers, directions, *row in [
        # N_L, N_D, RNN 100d, LSTM 100d, RNN 300d, LSTM 300d
        (1, 1, 77.22, 85.57, 76.29, 86.20),
        (1, 2, 77.87, 85.64, 76.80, 86.62),
        (2, 1, 77.30, 86.56, None, None),
        (2, 2, 76.41, 85.65, None, None),
        (5, 1, 75.28, 84.47, None, None),
        (5, 2, 74.14, 84.56, None, None),
    ]
    for (base, dim), percent in zip([("RNN", 100), ("LSTM", 100), ("RNN", 300), ("LSTM", 300)], row, strict=True)
    if percent is not None
}


def by_cell(results: Iterable[dict], settings: Config | None = None) -> dict[Cell, dict[int, dict]]:
    """Sort result files into the cells of the reference table: cell -> seed -> result.

    A run belongs to the table where everything but cell and seed is as in ``settings`` (the defaults of the
    lab sheet unless given); runs with other vectors, an improved setting or another kind of model, and files
    that are no run at all, are left out.
    """
    settings = settings or Config()
    table: dict[Cell, dict[int, dict]] = {cell: {} for cell in REFERENCE}
    for result in results:
        if result.get("kind") != "classifier":
            continue
        config = result["config"]
        cell = Cell(config["MODEL_BASE"], config["N_LAYERS"], 1 + config["BIDIRECTIONAL"], config["EMBEDDING_DIM"])
        if cell not in table:
            continue
        expected = replace(
            settings,
            MODEL_BASE=cell.base,
            N_LAYERS=cell.layers,
            BIDIRECTIONAL=cell.directions == 2,
            EMBEDDING_DIM=cell.dim,
            SEED=config["SEED"],
        )
        if result["run_id"] == expected.run_id:
            table[cell][config["SEED"]] = result
    return table
