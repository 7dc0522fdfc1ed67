"""A figure's bytes are those that Matplotlib itself would write."""

from __future__ import annotations

import io

import pytest
from matplotlib import pyplot

from lab.export import figures


def drawn(layout):
    fig, axes = pyplot.subplots(1, 2, layout=layout)
    axes[0].semilogy([1, 10, 1e5], label=r"$\partial L_t/\partial\boldsymbol{h}_k$")
    axes[0].set(title="损失", ylabel="验证损失")
    axes[0].legend(loc="best")
    axes[1].imshow([[0, 1], [2, 3]])
    fig.legend(["外面"], loc="upper right")
    return fig


@pytest.mark.parametrize("layout", [None, "constrained"])
def test_a_drawing_is_cropped_and_laid_out_as_savefig_does_it(layout):
    figures.use_style()
    expected = io.BytesIO()
    drawn(layout).savefig(expected, format="svg", bbox_inches="tight", dpi=72, metadata={"Date": None})
    fig = drawn(layout)
    assert figures.picture(fig, "svg") == expected.getvalue()
    assert figures.picture(fig, "png").startswith(b"\x89PNG")  # drawn once more where the drawing is too large
    pyplot.close("all")
