"""Downloads that go on where they stopped; pooch checks the checksum and puts the file in its place."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pooch
import requests
import urllib3
from filelock import FileLock
from tqdm import tqdm

from lab.errors import LabError

WAITS = (1, 2, 4, 8, 16, 32)  # seconds before the next try; from the beginning once something came
TIMEOUT = 30  # seconds without a byte
BLOCK = 1 << 14  # a connection that is reset loses at most so many bytes
PASSING = (408, 425, 429, 500, 502, 503, 504)  # statuses of a server that may be well again in a minute


class Refused(Exception):
    """Why a download failed for good, in Chinese."""


def fetch(url: str, path: Path, size: int, checksum: str) -> Path:
    """Download ``url`` as ``path``: ``size`` bytes with ``checksum`` (pooch's notation).

    What has come stays beside it as ``<name>.part`` for the next try. Raises ``LabError`` with the way out.
    """
    part = path.with_name(f"{path.name}.part")
    pooch.get_logger().setLevel("WARNING")  # its English remarks; ours are Chinese
    keeper = pooch.create(path.parent, "", registry={path.name: checksum}, urls={path.name: url}, retry_if_failed=1)
    try:
        with FileLock(f"{part}.lock"):  # two processes would write into one file
            return Path(keeper.fetch(path.name, downloader=lambda _, target, __: _complete(url, part, size, target)))
    except Refused as error:
        reason = str(error)
    except ValueError:  # pooch's, after a second download from the beginning
        reason = "内容的校验和不符"
    except OSError as error:
        reason = f"无法写入，{error.strerror or error}"
    kept = f"已下载的{_bytes(part) / 1e6:.1f}MB留在{part}，再次运行会接着下载；" if _bytes(part) else ""
    raise LabError(
        f"下载{path.name}失败（{reason}）。{kept}也可以用环境变量LAB_MIRROR换一个镜像，或自行下载后放到{path.parent}；"
        f"没有网络时可用--dataset sample。地址：{url}"
    )


def _complete(url: str, part: Path, size: int, target: str) -> None:
    """Receive until ``part`` has ``size`` bytes, then move it to ``target``."""
    waits = iter(WAITS)
    with requests.Session() as session, tqdm(total=size, desc=part.stem, unit="B", unit_scale=True) as bar:
        while (had := _bytes(part)) != size:
            try:
                _receive(session, url, part, size, bar)
            except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
                status = getattr(getattr(error, "response", None), "status_code", None)
                waits = iter(WAITS) if _bytes(part) > had else waits
                wait = next(waits, None) if status in (None, *PASSING) else None
                if wait is None:
                    raise Refused(f"服务器答复{status}" if status else f"连接中断，{type(error).__name__}") from error
                bar.set_postfix_str(f"连接中断，{wait:g}秒后继续")
                time.sleep(wait)
    os.replace(part, target)
    _origin(part).unlink(missing_ok=True)


def _receive(session: requests.Session, url: str, part: Path, size: int, bar: tqdm) -> None:
    """Append what one connection brings to ``part``; begin anew where the server's file has changed."""
    have = _bytes(part)
    headers = {"Accept-Encoding": "identity"}  # ranges count the bytes of the file itself
    if have:
        headers["Range"] = f"bytes={have}-"
        source, validator = (
            _origin(part).read_text(encoding="utf-8").split("\n") if _origin(part).is_file() else ("", "")
        )
        if source == url and validator:  # another mirror has other validators: there size and checksum must do
            headers["If-Range"] = validator
    with session.get(url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
        if have and answer.status_code == 416:  # more is here than there
            part.unlink()
            return
        answer.raise_for_status()
        start, total = 0, answer.headers.get("Content-Length", "*")
        if answer.status_code == 206:
            found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", ""))
            start, total = (int(found[1]), found[2]) if found else (-1, "*")
        # A page of the network's own (a login) must not take the place of what is here already.
        if start not in (0, have) or not (total == str(size) or (total == "*" and start == have)):
            raise Refused(f"服务器给的不是这个文件，应有{size:,}字节")
        if start == 0:
            validator = answer.headers.get("ETag", "W/")
            validator = answer.headers.get("Last-Modified", "") if validator.startswith("W/") else validator
            _origin(part).write_text(f"{url}\n{validator}", encoding="utf-8")
        bar.set_postfix_str("")
        bar.n = start
        with open(part, "ab" if start else "wb") as file:
            for block in answer.raw.stream(BLOCK, decode_content=False):
                file.write(block)
                bar.update(len(block))
    if _bytes(part) > size:
        part.unlink()
        raise Refused(f"服务器给的比应有的{size:,}字节多")
    if _bytes(part) < size:
        raise urllib3.exceptions.ProtocolError("closed early")


def _bytes(part: Path) -> int:
    return part.stat().st_size if part.is_file() else 0


def _origin(part: Path) -> Path:
    """Holds the address ``part`` comes from, and the ETag or date that tells whether the file there is still the same."""
    return part.with_name(f"{part.name}.origin")
