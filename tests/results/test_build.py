"""The report from whatever results there are, in three forms, each reference with its target."""

from __future__ import annotations

import re
import zipfile

import pytest
from click.testing import CliRunner

from lab import files
from lab.cli import main
from lab.errors import LabError
from lab.results import build


def test_a_report_without_any_result_says_so(home):
    done = CliRunner().invoke(main, ["report", "--dataset", "Sample", "--name", "张三", "--student-id", "S1"])
    assert done.exit_code == 0, done.output
    folder = home / "runs" / "sample" / "report"
    assert not (home / "report" / "report.html").exists()  # the place of the real reviews' report
    page = (folder / "report.html").read_text(encoding="utf-8")
    words = re.sub("<[^>]+>", "", page)
    assert "未运行的图表" in words
    assert "张三" in words
    assert "图1" in words
    assert re.search(r"结果见表\d+，各配对的差异见图\d+", words)
    assert (folder / "report.pdf").read_bytes().startswith(b"%PDF")
    assert "全部配对的差异" in zipfile.ZipFile(folder / "report.docx").read("word/document.xml").decode()


def test_a_damaged_cover_is_one_line(home):
    files.write_json(home / "report" / "cover.json", ["x"])
    with pytest.raises(LabError, match=r"cover\.json已损坏"):
        build.cover(name="甲")
