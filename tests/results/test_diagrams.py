"""The diagrams as a reader sees them: nothing covered, cut off or too small, and readable in grey print."""

from __future__ import annotations

import itertools

import pytest
from made_colors import contrast
from matplotlib import pyplot

from lab.export import figures
from lab.results import diagrams

DIAGRAMS = (diagrams.unrolled, diagrams.lstm_cell, diagrams.classifier)


@pytest.fixture(params=DIAGRAMS, ids=lambda draw: draw.__name__)
def figure(request):
    figures.use_style()
    yield request.param()
    pyplot.close("all")


def test_no_text_covers_another_or_leaves_the_figure(figure):
    boxes = [(each.get_text(), each.get_window_extent()) for each in figure.axes[0].texts]
    assert len(boxes) > 10
    for (one, a), (two, b) in itertools.combinations(boxes, 2):
        assert not a.overlaps(b), (one, two)
    for words, box in boxes:
        assert figure.bbox.x0 <= box.x0, words
        assert box.x1 <= figure.bbox.x1, words
        assert figure.bbox.y0 <= box.y0, words
        assert box.y1 <= figure.bbox.y1, words


def test_text_is_large_and_dark_enough(figure):
    assert figure.get_figwidth() == pytest.approx(6.4)  # the report's text width: points are the report's points
    for each in figure.axes[0].texts:
        assert each.get_fontsize() >= 8
        assert contrast(each.get_color()) >= 4.5


def test_the_directions_differ_in_grey():
    assert contrast(diagrams.FORWARD, diagrams.BACKWARD) > 2


def test_vectors_are_bold_and_every_glyph_exists(figure, caplog):
    svg = figures.picture(figure, "svg").decode()
    assert svg.count("<path") > 50  # drawn as vectors
    assert "<image" not in svg
    assert "does not have a glyph" not in caplog.text
    words = "".join(each.get_text() for each in figure.axes[0].texts)
    assert r"\boldsymbol{h}" in words
    assert len(figure.get_label()) > 40  # what a reader who cannot see it is told
    assert "$" not in figure.get_label()
