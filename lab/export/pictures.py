"""The pictures of a notebook: outputs, attachments and files, checked before a browser or Typst sees them."""

from __future__ import annotations

import base64
import binascii
import io
import re
from pathlib import Path
from urllib.parse import unquote_to_bytes
from xml.etree import ElementTree

from PIL import Image

from lab.errors import LabError

PICTURES = {  # best first
    "image/svg+xml": "svg",
    "image/png": "png",
    "image/jpeg": "jpg",
    "image/webp": "webp",
    "image/gif": "gif",
}


def picture_name(target: str, media: dict[str, bytes], folder: Path, cell: int) -> str:
    """The name in ``media`` of the picture at ``target``: a name already, a ``data:`` address or a path."""
    if target not in media:
        if re.match(r"https?:|//", target):
            raise LabError(
                f"第{cell}个单元格的图片{target}在网络上，报告要能离线阅读：请下载到笔记本旁边，改用相对路径。"
            )
        try:
            if target.startswith("data:"):
                head, content = target.removeprefix("data:").split(",", 1)
                suffix = PICTURES[head.split(";")[0].lower()]
                content = base64.b64decode(content) if head.endswith(";base64") else unquote_to_bytes(content)
            else:
                path = folder / unquote_to_bytes(target).decode()
                suffix = path.suffix.lstrip(".").lower().replace("jpeg", "jpg")
                content = path.read_bytes()
            if suffix not in PICTURES.values():
                raise ValueError(suffix)
        except (OSError, ValueError, KeyError, binascii.Error):
            raise LabError(
                f"第{cell}个单元格的图片{target[:80]}不能用：请检查路径，格式须是{'、'.join(PICTURES.values())}之一。"
            ) from None
        target = f"picture-{len(media) + 1}.{suffix}"
        media[target] = content
    check_picture(target, media[target], cell)
    return target


def check_picture(name: str, content: bytes, cell: int) -> None:
    """Raise ``LabError`` for a picture whose content is not what its name says: a browser would show a gap."""
    try:
        if name.endswith(".svg"):
            if not ElementTree.fromstring(content).tag.endswith("svg"):
                raise ValueError("no svg")
        else:
            with Image.open(io.BytesIO(content)) as picture:
                picture.load()
                if (picture.format or "").lower().replace("jpeg", "jpg") != name.rsplit(".", 1)[1]:
                    raise ValueError(picture.format)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        kind = name.rsplit(".", 1)[1]
        raise LabError(f"第{cell}个单元格有一张{kind}图片损坏，不能显示：请重新生成它。") from None
