"""Downloads from a real server on this machine that breaks off, forgets ranges, answers wrongly or is slow."""

from __future__ import annotations

import hashlib
import os
import random
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from lab.data import download, sources
from lab.errors import LabError

WHOLE = random.Random(0).randbytes(8_000_000)
OTHER = random.Random(1).randbytes(len(WHOLE))


def sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


class Server(ThreadingHTTPServer):
    """Serves ``content`` under every name; its attributes say how badly."""

    content = WHOLE
    etag: str | None = '"1"'
    date: str | None = None  # Last-Modified
    ranges = True
    statuses: tuple = ()  # of the first answers, instead of the file
    breaks: tuple = ()  # after how many bytes each of the first connections ends
    reset = False  # breaks are a reset instead of an early end
    length: int | str | None = ""  # another Content-Length than the true one; None for none
    start_off = 0  # added to the first byte that Content-Range names
    pause = 0.0  # seconds before each 100,000 bytes
    encoding: str | None = None

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests, self.sent, self.paths = [], 0, []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/file.zip"

    def handle_error(self, request, client_address):
        pass  # a client that went away


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        server = self.server
        number = len(server.requests)
        server.requests.append(dict(self.headers))
        server.paths.append(self.path)
        if number < len(server.statuses) and server.statuses[number]:
            return self.send_error(server.statuses[number])
        content, start = server.content, 0
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        same = self.headers.get("If-Range", server.etag or server.date) in (server.etag, server.date)
        if wanted and server.ranges and same:
            start = int(wanted[1])
            if start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.send_header("Content-Length", "0")
                return self.end_headers()
            self.send_response(206)
            first = start + server.start_off
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        length = len(content) - start if server.length == "" else server.length
        for name, value in {
            "Content-Length": length,
            "ETag": server.etag,
            "Last-Modified": server.date,
            "Content-Encoding": server.encoding,
        }.items():
            if value is not None:
                self.send_header(name, str(value))
        self.end_headers()
        end = start + server.breaks[number] if number < len(server.breaks) else len(content)
        for at in range(start, min(end, len(content)), 100_000):
            time.sleep(server.pause)
            block = content[at : min(at + 100_000, end)]
            self.wfile.write(block)
            server.sent += len(block)
        if end < len(content) and server.reset:
            time.sleep(0.02)  # a reset discards what the client has not read yet
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        return None


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(download, "WAITS", (0.001, 0.002, 0.004))
    monkeypatch.setattr(download, "TIMEOUT", 0.5)
    with Server() as made:
        threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True).start()
        yield made
        made.shutdown()


def fetch(server, tmp_path, content=WHOLE):
    return download.fetch(server.url, tmp_path / "file.zip", len(content), sha256(content))


def left(tmp_path):
    return sorted(path.name for path in tmp_path.iterdir() if path.suffix != ".lock")


def test_whole_file_at_once(server, tmp_path):
    assert fetch(server, tmp_path).read_bytes() == WHOLE
    assert left(tmp_path) == ["file.zip"]
    assert server.requests[0]["Accept-Encoding"] == "identity"
    assert "Range" not in server.requests[0]
    fetch(server, tmp_path)
    assert len(server.requests) == 1  # what is here already is not asked for again


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
def test_fifty_random_breaks(server, tmp_path, reset):
    rng = random.Random(7)
    server.breaks, server.reset = tuple(rng.randrange(300_000) for _ in range(50)), reset
    assert fetch(server, tmp_path).read_bytes() == WHOLE
    assert server.sent <= 1.2 * len(WHOLE)
    assert len(server.requests) >= 27  # so many breaks happened at least


def test_next_process_goes_on(server, tmp_path):
    server.pause = 0.05
    code = "import sys; from pathlib import Path; from lab.data import download; download.fetch(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4])"
    facts = [server.url, str(tmp_path / "file.zip"), str(len(WHOLE)), sha256(WHOLE)]
    killed = subprocess.Popen([sys.executable, "-c", code, *facts], stderr=subprocess.DEVNULL)
    while not (tmp_path / "file.zip.part").is_file() or (tmp_path / "file.zip.part").stat().st_size < 500_000:
        assert killed.poll() is None
        time.sleep(0.01)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    assert not (tmp_path / "file.zip").exists()
    server.pause = 0
    have = (tmp_path / "file.zip.part").stat().st_size
    assert fetch(server, tmp_path).read_bytes() == WHOLE
    assert server.requests[-1]["Range"] == f"bytes={have}-"
    assert server.requests[-1]["If-Range"] == '"1"'


@pytest.mark.parametrize(("etag", "date"), [('"2"', None), (None, "Tue, 03 Jan 2012 00:00:00 GMT"), (None, None)])
def test_changed_file_starts_anew(server, tmp_path, etag, date):
    server.content, server.breaks = OTHER, (1_000_000,)
    server.etag, server.date = (etag and '"1"'), (date and "Mon, 02 Jan 2012 00:00:00 GMT")
    server.statuses = (None, 404)
    with pytest.raises(LabError, match="404"):
        fetch(server, tmp_path)
    server.content, server.etag, server.date = WHOLE, etag, date
    assert fetch(server, tmp_path).read_bytes() == WHOLE
    if etag or date:  # else the checksum tells, at the end
        assert server.sent == 1_000_000 + len(WHOLE)


def test_weak_etag_is_no_validator(server, tmp_path):
    server.etag, server.breaks = 'W/"1"', (1_000_000,)
    assert fetch(server, tmp_path).read_bytes() == WHOLE
    assert "If-Range" not in server.requests[1]
    assert server.sent == len(WHOLE)


def test_server_without_ranges(server, tmp_path):
    server.ranges, server.breaks = False, (1_000_000, 2_000_000)
    assert fetch(server, tmp_path).read_bytes() == WHOLE
    assert left(tmp_path) == ["file.zip"]


def test_passing_errors_are_waited_for(server, tmp_path):
    server.statuses = (503, 429, 502)
    assert fetch(server, tmp_path).read_bytes() == WHOLE


def test_mirror_goes_on_with_what_another_began(server, tmp_path):
    server.breaks, server.statuses = (3_000_000,), (None, 403)
    with pytest.raises(LabError, match="403"):
        fetch(server, tmp_path)
    server.etag = '"another"'
    again = download.fetch(server.url.replace("file", "mirror/file"), tmp_path / "file.zip", len(WHOLE), sha256(WHOLE))
    assert again.read_bytes() == WHOLE
    assert server.sent == len(WHOLE)


@pytest.mark.parametrize(
    ("attributes", "reason", "requests"),
    [
        (dict(statuses=(404,) * 9), "答复404", 1),
        (dict(statuses=(503,) * 9), "答复503", 4),
        (dict(length=100), "应有8,000,000字节", 1),
        (dict(length=9_000_000), "应有8,000,000字节", 1),
        (dict(content=OTHER[:-1]), "应有8,000,000字节", 1),
        (dict(content=WHOLE + b"x", length=None), "比应有的8,000,000字节多", 1),
        (dict(content=OTHER), "校验和不符", 2),
        (dict(breaks=(0,) * 9), "连接中断", 4),
        (dict(pause=0.7), "连接中断", 4),
    ],
    ids="missing busy short-length long-length smaller larger wrong-bytes nothing silent".split(),
)
def test_wrong_answers_end_in_one_line(server, tmp_path, attributes, reason, requests):
    for name, value in attributes.items():
        setattr(server, name, value)
    with pytest.raises(
        LabError, match=rf"下载file\.zip失败（.*{reason}.*LAB_MIRROR.*--dataset sample.*{server.url}$"
    ) as caught:
        fetch(server, tmp_path)
    assert "\n" not in str(caught.value)
    assert len(server.requests) == requests
    assert not (tmp_path / "file.zip").exists()


def test_login_page_does_not_cost_what_is_here(server, tmp_path):
    server.breaks, server.statuses = (3_000_000,), (None, 404)
    with pytest.raises(LabError, match=r"已下载的3\.0MB留在.*file\.zip\.part"):
        fetch(server, tmp_path)
    server.content, server.etag, server.length = b"<html>Please log in</html>", None, None
    server.ranges = False
    with pytest.raises(LabError, match="不是这个文件"):
        fetch(server, tmp_path)
    server.content, server.etag, server.length, server.ranges = WHOLE, '"1"', "", True
    assert fetch(server, tmp_path).read_bytes() == WHOLE
    assert server.requests[-1]["Range"] == "bytes=3000000-"


def test_more_here_than_there_starts_anew(server, tmp_path):
    (tmp_path / "file.zip.part").write_bytes(OTHER + b"more")
    assert fetch(server, tmp_path).read_bytes() == WHOLE


def test_wrong_range_is_refused(server, tmp_path):
    server.breaks, server.start_off = (1_000_000,), 5
    with pytest.raises(LabError, match="不是这个文件"):
        fetch(server, tmp_path)


def test_complete_part_needs_no_server(tmp_path):
    (tmp_path / "file.zip.part").write_bytes(WHOLE)
    done = download.fetch("http://127.0.0.1:9/file.zip", tmp_path / "file.zip", len(WHOLE), sha256(WHOLE))
    assert done.read_bytes() == WHOLE


def test_mislabelled_encoding_changes_no_byte(server, tmp_path):
    server.encoding = "x-gzip"  # Apache's label for a .tar.gz
    assert fetch(server, tmp_path).read_bytes() == WHOLE


def test_two_at_once_download_once(server, tmp_path):
    server.pause = 0.005
    both = [threading.Thread(target=fetch, args=(server, tmp_path)) for _ in range(2)]
    for each in both:
        each.start()
    for each in both:
        each.join()
    assert (tmp_path / "file.zip").read_bytes() == WHOLE
    assert len(server.requests) == 1


def test_mirror_serves_both_files(server, home, tmp_path, monkeypatch):
    monkeypatch.setenv("LAB_MIRROR", server.url.removesuffix("file.zip") + "course/")
    (tmp_path / "data").mkdir()
    monkeypatch.setenv("LAB_DATA", str(tmp_path / "data"))
    for name in ("ACLIMDB", "GLOVE"):
        address = getattr(sources, name)[0]
        monkeypatch.setattr(sources, name, (address, sha256(WHOLE), len(WHOLE)))
    assert sources.find_reviews("aclImdb") == tmp_path / "data" / "aclImdb_v1.tar.gz"
    assert sources.find_vectors("aclImdb", 100) == tmp_path / "data" / "glove.6B.zip"
    assert server.paths == ["/course/aclImdb_v1.tar.gz", "/course/glove.6B.zip"]
    monkeypatch.setenv("LAB_MIRROR", "mirror.example.org")
    (tmp_path / "data" / "glove.6B.zip").unlink()
    with pytest.raises(LabError, match=r"LAB_MIRROR的值mirror\.example\.org"):
        sources.find_vectors("aclImdb", 100)
