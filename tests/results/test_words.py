"""A review with coloured words: told apart, readable, and the same in every export."""

from __future__ import annotations

import io
import re
import zipfile

import pytest
from made_colors import contrast
from nbconvert.exporters import get_exporter
from nbformat.v4 import new_code_cell, new_notebook, new_output
from pypdf import PdfReader

from lab import files
from lab.results import tables, words

WORDS = ["a", "great", "<unk>", "but", "boring", "film"]
PATH = [0.51, 0.80, 0.80, 0.70, 0.20, 0.21]


def test_colours_say_which_way_and_how_far():
    spans = re.findall(
        r'background-color: (#\w+); color: #000000" title="([^"]*)">([^<]*)<', words.colored(WORDS, PATH)
    )
    assert [word for _, _, word in spans] == ["great", "but", "boring"]
    assert spans[0][1] == "读到这里，正面的概率由51%变为80%"
    assert "&lt;unk&gt;" in words.colored(WORDS, PATH)
    up, weak, strong = (ground for ground, _, _ in spans)
    assert int(up[1:3], 16) < int(up[5:7], 16)  # blue
    assert int(strong[1:3], 16) > int(strong[5:7], 16)  # orange
    assert contrast("#000000", weak) > contrast("#000000", strong) > 4.5
    assert contrast("#000000", up) > 4.5


@pytest.mark.parametrize("kind", ["html", "pdf", "docx"])
def test_it_survives_export(kind):
    output = new_output("display_data", {"text/html": words.colored(WORDS, PATH)})
    notebook = new_notebook(cells=[new_code_cell("1", outputs=[output])])
    content, _ = get_exporter(f"lab_{kind}")().from_notebook_node(notebook)
    ground = words.tint(words.UP, 1.0)
    if kind == "html":
        assert re.search(rf"background-color: ?{ground}[^>]*>great<", content)
    elif kind == "docx":
        page = zipfile.ZipFile(io.BytesIO(content)).read("word/document.xml").decode()
        assert f'w:fill="{ground[1:]}"/></w:rPr><w:t xml:space="preserve">great<' in page
    else:
        page = PdfReader(io.BytesIO(content)).pages[-1]
        assert "boring" in page.extract_text()
        red, green, blue = (int(ground[at : at + 2], 16) / 255 for at in (1, 3, 5))
        drawn = page.get_contents().get_data().decode("latin1")
        found = [tuple(map(float, each)) for each in re.findall(r"([\d.]+) ([\d.]+) ([\d.]+) scn", drawn)]
        assert any(abs(r - red) + abs(g - green) + abs(b - blue) < 0.02 for r, g, b in found)


def test_the_passages_of_the_report_stand_where_the_model_changed_its_mind():
    traces = files.read_json(files.PROJECT / "report" / "results" / "aclImdb" / "traces.json")
    table = tables.traces_table(traces)
    for review, (_, row) in zip(traces["reviews"], table.iterrows(), strict=True):
        path = review["probability"]["LSTM"]
        first, turn = row["第几个词元起"], review["turn"]
        assert first <= turn < first + len(review["passage"].split(" "))
        before = path[turn - 2] if turn > 1 else 0.5
        assert f"由{before:.0%}变为{path[turn - 1]:.0%}" in row["LSTM变化最大处"]
