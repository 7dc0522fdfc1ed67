"""Outputs of every MIME type, and nbconvert's own options."""

from __future__ import annotations

import subprocess
import sys

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output, new_raw_cell
from reading import notebook, page, pdf, picture, shown, squeeze, words
from traitlets.config import Config

from lab.errors import LabError
from lab.export.exporters import LabHTMLExporter

SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="5" height="5"/></svg>'
WIDGET = "application/vnd.jupyter.widget-view+json"
READ = [  # an output's data, what is read of it
    ({"text/plain": "文字", "text/html": "<b>网页</b>"}, "网页"),
    ({"text/plain": "文字", "text/html": "<script>draw()</script>"}, "网页脚本"),
    ({"text/plain": "文字", "text/html": "<style>p {}</style>"}, "文字"),
    ({"text/plain": "文字", "text/markdown": "**标记**"}, "标记"),
    ({"text/plain": "文字", "text/latex": r"$\text{公式}$"}, "公式"),
    ({"text/plain": "文字", "text/latex": r"\[\text{显示}\] \(\text{行内}\)"}, "显示行内"),
    ({"text/plain": "文字"}, "文字"),
    ({"text/plain": ["文", "字"]}, "文字"),
    ({"text/plain": "<IPython.core.display.JSON object>", "application/json": {"键": [1]}}, '"键":[1]'),
    ({"text/plain": "x", "application/javascript": "alert(1)"}, "JavaScript输出(application/javascript)"),
    ({"text/plain": "x", "application/pdf": "eA=="}, "PDF文件"),
    ({"text/plain": "x", "application/geo+json": {}}, "GeoJSON地图"),
    ({"text/plain": "x", "application/vnd.vega.v5+json": {}}, "Vega图"),
    ({"text/plain": "x", "application/vnd.vegalite.v5+json": {}}, "Vega图"),
    ({"application/vnd.plotly.v1+json": {}, "text/html": "<div></div><script>x</script>"}, "Plotly图"),
    ({"application/vnd.plotly.v1+json": {}, "text/html": "<p>静态</p>"}, "静态"),
    ({WIDGET: {}, "text/plain": "IntSlider(value=3)"}, "IntSlider(value=3)"),
    ({WIDGET: {}}, "交互控件"),
    ({"application/x-own": "x"}, "application/x-own"),
    ({"application/x-own": "x", "text/plain": "代替"}, "代替"),
]


@pytest.mark.parametrize("export", [page, pdf])
def test_every_output_is_shown_or_named(export):
    text = words(export(*(shown(data) for data, _ in READ)))
    place = 0
    for data, read in READ:
        read = read.replace(":[1]", ":[1]")
        assert read in text[place:], data
        place = text.index(read, place) + len(read)


@pytest.mark.parametrize("kind", ["png", "jpeg", "gif", "webp"])
@pytest.mark.parametrize("mime", [WIDGET, "application/vnd.plotly.v1+json", "text/plain"])
def test_a_picture_is_the_best_form(kind, mime):
    cell = shown({mime: "x", f"image/{kind}": picture(kind), "text/html": "<script>x</script>"})
    assert page(cell).find("img")["src"].startswith(f"data:image/{kind};base64,")
    assert [image for each in pdf(cell).pages for image in each.images]


ATTACHED = [  # a file's name, and a reference to it
    ("image.png", "![](attachment:image.png)"),
    ("image.png", '<img src="attachment:image.png" width="300"/>'),
    ("image.png", '![](attachment:image.png "题")'),
    ("image.png", "![][p]\n\n[p]: attachment:image.png"),
    ("a b.png", "![](<attachment:a b.png>)"),
    ("图&.png", "![](attachment:%E5%9B%BE&.png)"),
]


@pytest.mark.parametrize(("name", "source"), ATTACHED)
@pytest.mark.parametrize("export", [page, pdf])
def test_an_attached_picture_is_shown_however_it_is_referred_to(export, name, source):
    cell = new_markdown_cell(source, attachments={name: {"image/png": picture()}})
    file = export("字", cell)
    assert file.find("img")["src"].startswith("data:") if export is page else file.pages[-1].images


@pytest.mark.parametrize("attachments", [{}, {"x.png": {}}])
def test_a_missing_attachment_is_named(attachments):
    with pytest.raises(LabError, match=r"第2个单元格的图片attachment:x\.png"):
        page("字", new_markdown_cell("![](attachment:x.png)", attachments=attachments))


def stream(name: str, *texts: str):
    return new_code_cell("", outputs=[new_output("stream", name=name, text=text) for text in texts])


@pytest.mark.parametrize("export", [page, pdf])
def test_of_stderr_only_progress_bars_are_dropped(export):
    bars = [
        "\r  0%|          | 0/3 [00:00<?, ?it/s]",
        "\r训练: 100%|██████████| 3/3 [00:01<00:00,  2.9it/s]\n",
        "7it [00:03,  2.1it/s]\n",
    ]
    text = words(export(stream("stderr", *bars, "警告：没有GPU\n"), stream("stdout", "一\r", "二\n")))
    assert "警告:没有GPU" in text
    assert "it/s" not in text
    assert "%" not in text
    assert "二" in text


@pytest.mark.parametrize(
    "line",
    [
        "epoch 3 | acc 85% | loss 0.31 | lr 0.001",
        "进度50% | 甲 | 乙",
        "[12:30<- 现在]",
        "读了12it [03:20] 之后",
        "2024 [12:30, 完]",
    ],
)
def test_a_line_of_stderr_that_only_looks_like_a_bar_stays(line):
    assert squeeze(line) in words(page(stream("stderr", f"{line}\n")))


def test_bars_of_every_make_are_dropped():
    bars = [
        "分词: 45%|####5     | 9/20 [00:01<00:02, 5.0篇/s]",
        "0篇 [00:00, ?篇/s]",
        "1.5MB [00:03, 2.1MB/s]",
        "100%|██████████| 3/3 [1:00:01<?, ?it/s, loss=0.3]",
        " 10%|█         |",
    ]
    assert words(page(stream("stderr", "\n".join([*bars, "中"]))).find("main")) == "中"


def test_errors_keep_name_and_message():
    error = new_output("error", ename="ValueError", evalue="\x1b[31m坏值\x1b[0m", traceback=["长"])
    for file in (page(new_code_cell("1", outputs=[error])), pdf(new_code_cell("1", outputs=[error]))):
        assert "ValueError:坏值" in words(file)


@pytest.mark.parametrize(
    "data", [{"image/png": "AAAA"}, {"image/png": "%"}, {"image/svg+xml": "<svg"}, {"image/svg+xml": "<x/>"}]
)
@pytest.mark.parametrize("export", [page, pdf])
def test_a_broken_picture_is_refused_with_its_cell(export, data):
    with pytest.raises(LabError, match="第2个单元格"):
        export("好", shown(data))


@pytest.mark.parametrize("lab", ["x", {"kind": "图"}, {"kind": "图", "caption": None, "label": ""}])
def test_a_damaged_caption_is_refused_with_its_cell(lab):
    with pytest.raises(LabError, match="第2个单元格"):
        page("好", shown({"text/plain": "x"}, lab=lab))


def test_signs_that_stand_for_formulas_inside_are_no_formula_in_a_listing():
    cell = new_code_cell("'\uf8f00\uf8f1甲'", outputs=[new_output("stream", name="stdout", text="\uf8f09\uf8f1乙")])
    assert words(page("$x$", cell).find("main")) == "x代码'甲'乙"


def test_a_broken_notebook_is_one_line(tmp_path):
    whole = nbformat.writes(notebook("好"))
    broken = {
        "half": whole[:80].encode(),
        "empty": b"",
        "merged": f"<<<<<<< HEAD\n{whole}".encode(),
        "utf16": whole.encode("utf-16"),
        "list": b"[]",
        "v9": whole.replace('"nbformat": 4', '"nbformat": 9').encode(),
        "cell": whole.replace('"cell_type": "markdown"', '"cell_type": "heading"').encode(),
    }
    for name, content in broken.items():
        (tmp_path / f"{name}.ipynb").write_bytes(content)
        with pytest.raises(LabError, match=f"文件{name}.ipynb不是完整的笔记本") as caught:
            LabHTMLExporter().from_filename(tmp_path / f"{name}.ipynb")
        assert "\n" not in str(caught.value)
    (tmp_path / "bom.ipynb").write_text(whole, encoding="utf-8-sig")
    assert "好" in LabHTMLExporter().from_filename(tmp_path / "bom.ipynb")[0]
    command = [sys.executable, "-m", "nbconvert", "--to", "lab_html", "merged.ipynb"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("错误：文件merged.ipynb不是完整的笔记本")


def test_raw_cells_by_their_format():
    def raw(source, form):
        return new_raw_cell(source, metadata={"format": form} if form else {})

    cells = [raw("甲<unk>", ""), raw("<b>乙</b>", "text/html"), raw("*丙*", "text/markdown"), raw("丁", "text/x-rst")]
    for file in (page(*cells), pdf(*cells)):
        text = words(file)
        assert "甲<unk>" in text
        assert "乙" in text
        assert "丙" in text
        assert "丁" not in text


OPTIONS = [
    ({"exclude_input": True}, {"源码"}),
    ({"exclude_output": True}, {"输出"}),
    ({"exclude_markdown": True}, {"正文"}),
    ({"exclude_code_cell": True}, {"源码", "输出", "藏"}),
    ({"exclude_raw": True}, {"生肉"}),
    ({}, set()),
]


def sample() -> list:
    hidden = new_code_cell("藏 = 1", metadata={"tags": ["mine"]}, outputs=[])
    code = new_code_cell("源码 = 1", outputs=[new_output("stream", name="stdout", text="输出")])
    return ["正文", code, new_raw_cell("生肉"), hidden]


@pytest.mark.parametrize("export", [page, pdf])
@pytest.mark.parametrize(("options", "gone"), OPTIONS)
def test_nbconverts_options_are_obeyed(export, options, gone):
    text = words(export(*sample(), config=Config({"TemplateExporter": options})))
    missing = {word for word in ("源码", "输出", "正文", "生肉", "藏") if word not in text}
    assert missing == gone | ({"藏"} if options.get("exclude_input") else set())


@pytest.mark.parametrize(
    ("option", "gone"),
    [("remove_cell_tags", {"源", "出"}), ("remove_input_tags", {"源"}), ("remove_all_outputs_tags", {"出"})],
)
def test_tags_of_the_tag_remover(option, gone):
    output = new_output("stream", name="stdout", text="出")
    cell = new_code_cell("源 = 1", metadata={"tags": ["mine"]}, outputs=[output])
    config = Config({"TagRemovePreprocessor": {option: ["mine"]}})
    text = words(page("正文", cell, config=config))
    assert {word for word in ("源", "出") if word not in text} == gone


def test_a_refusal_counts_the_cells_that_nbconvert_took_away():
    gone = new_code_cell("x = 1", metadata={"tags": ["mine"]})
    config = Config({"TagRemovePreprocessor": {"remove_cell_tags": ["mine"]}})
    with pytest.raises(LabError, match="第3个单元格"):
        page("一", gone, "见[图](#nothing)", config=config)


def test_no_input_on_the_command_line(tmp_path):
    nbformat.write(notebook(*sample()), tmp_path / "a.ipynb")
    command = [sys.executable, "-m", "nbconvert", "--to", "lab_html", "--no-input", "a.ipynb"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "a.html").read_text()
    assert "源码" not in text
    assert "输出" in text
