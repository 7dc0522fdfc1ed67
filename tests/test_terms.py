"""One term for one thing: what a lab user reads keeps to the list in ``report/terms.csv``."""

from __future__ import annotations

import ast
import csv
import json
import re

import pytest
from bs4 import BeautifulSoup

from lab.cli import main
from lab.files import PROJECT


def terms() -> list[dict]:
    with open(PROJECT / "report" / "terms.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def texts() -> dict[str, str]:
    """What a user reads, by where it stands: notebooks, README, the tracked report, and the package's Chinese strings."""
    found = {"README.md": (PROJECT / "README.md").read_text(encoding="utf-8")}
    for path in sorted((PROJECT / "notebooks").glob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        found[path.name] = "\n".join("".join(cell["source"]) for cell in cells)
    page = BeautifulSoup((PROJECT / "report" / "report.html").read_text(encoding="utf-8"), "html.parser")
    found["report.html"] = page.body.get_text()
    for path in sorted((PROJECT / "lab").rglob("*.py")):
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        strings = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
        found[str(path.relative_to(PROJECT))] = "\n".join(
            text for text in strings if re.search("[\u4e00-\u9fff]", text)
        )
    return found


def test_the_list_is_clean():
    rows = terms()
    used = [row["用"] for row in rows]
    avoided = [word for row in rows for word in row["不用"].split("、")]
    assert len(rows) > 20
    assert len(set(used)) == len(used)
    assert not set(used) & set(avoided)
    assert all(row["英文"] and row["不用"] for row in rows)


@pytest.mark.parametrize("row", terms(), ids=lambda row: row["英文"])
def test_one_term_for_one_thing(row):
    wrong = [
        f"{place}：{text[max(0, hit.start() - 12) : hit.end() + 12]!r}"
        for place, text in texts().items()
        for word in row["不用"].split("、")
        for hit in re.finditer(re.escape(word), text)
    ]
    assert not wrong, f"请改为“{row['用']}”：" + "；".join(wrong)


def test_a_command_in_a_message_can_be_copied():
    calls = re.compile(rf"(?<!uv run )\blab (?:{'|'.join(main.commands)})\b")
    wrong = {place: calls.findall(text) for place, text in texts().items() if place.endswith((".py", ".ipynb"))}
    assert not {place: found for place, found in wrong.items() if found}
