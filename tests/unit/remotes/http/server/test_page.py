"""Pages: what they say, that nothing in them is taken for markup, and what a real browser makes of them."""

from __future__ import annotations

import html
import json
import os
import shlex
import subprocess
import urllib.request
from html.parser import HTMLParser
from typing import TYPE_CHECKING
from urllib.error import HTTPError
from urllib.parse import urljoin

import pytest

from casync_py.api import make
from casync_py.cli import main
from casync_py.options import Settings
from casync_py.remotes.http.server.page import base_url, wants_json
from casync_py.testing.serving import Served

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

EVIL = "<script>alert(1)<|script> \" onmouseover=x ' & %41 \u202eevil\n".replace("\n", " ")


class Links(HTMLParser):
    """What a page links to, and the texts in its `code`."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.links: list[str] = []
        self.codes: list[str] = []
        self.tags: set[str] = set()
        self._in_code = False
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value for name, value in attrs if name == "href" and value]
        self._in_code = tag == "code"

    def handle_endtag(self, tag: str) -> None:
        self._in_code = False

    def handle_data(self, data: str) -> None:
        if self._in_code:
            self.codes.append(data)


def get(url: str, **headers: str) -> tuple[bytes, dict[str, str]]:
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=30) as answer:
        return answer.read(), dict(answer.headers.items())


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    folder = tmp_path / "served"
    (folder / "more & more" / "deep").mkdir(parents=True)
    blob = tmp_path / "blob"
    blob.write_bytes(os.urandom(1 << 20))
    make(str(folder / "disk image.caibx"), str(blob))
    make(
        str(folder / "more & more" / "tree.caidx"), str(folder), Settings(store=str(folder / "more & more" / "s.castr"))
    )
    make(str(folder / f"{EVIL}.catar"), str(folder / "more & more" / "deep"))
    (folder / "broken.caidx").write_bytes(b"no index")
    (folder / "private.txt").write_text("not served")
    (folder / ".hidden.catar").write_text("not served")
    return folder


def test_every_link_leads_somewhere(folder: Path) -> None:
    with Served(folder) as server:
        seen: set[str] = set()
        waiting = [server.url + "/", server.url + "/more%20%26%20more"]  # with and without a slash at the end
        while waiting:
            url = waiting.pop()
            seen.add(url)
            body, headers = get(url)
            if headers["content-type"].startswith("text/html"):
                waiting += {urljoin(url, link) for link in Links(body).links} - seen - set(waiting)
        paths = {url.removeprefix(server.url) for url in seen}
        assert {
            "/",
            "/default.castr/",
            "/disk%20image.caibx",
            "/more%20%26%20more/tree.caidx",
            "/broken.caidx",
        } <= paths
        assert not any("private" in path or "hidden" in path for path in paths)


def test_nothing_is_taken_for_markup(folder: Path) -> None:
    with Served(folder) as server:
        page, headers = get(server.url + "/", Host='"><script>')
    found = Links(page)
    assert not {"script", "img"} & found.tags
    assert "\u202e" not in page.decode()
    assert html.escape("<script>alert(1)<|script>") in page.decode()
    assert not any('"><script>' in code for code in found.codes)
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("writable", [False, True])
def test_the_commands_run(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writable: bool) -> None:
    """All that a page offers, except curl, as a shell would run it."""
    work = tmp_path / "work"
    work.mkdir()
    (work / "disk.img").write_bytes(os.urandom(100_000))
    monkeypatch.chdir(work)
    ran = 0
    with Served(folder, writable=writable) as server:
        for path in ("/", "/more%20%26%20more/"):
            for command in Links(get(server.url + path)[0]).codes:
                program, *words = shlex.split(command)
                if program == "casync-py" and "broken" not in command and "/usr/share" not in command:
                    assert main([*words, *(["--without=privileged"] if words[0] == "extract" else [])]) == 0, command
                    ran += 1
    assert ran == 7 + 2 * writable
    assert (work / "disk image").read_bytes() == (tmp_path / "blob").read_bytes()
    assert (folder / "disk.caibx").exists() == writable


def test_json(folder: Path) -> None:
    with Served(folder, writable=True) as server:
        body, headers = get(server.url + "/", Accept="application/json")
        page = json.loads(body)
        store = json.loads(get(server.url + "/default.castr", Accept="application/json")[0])
        deep = json.loads(get(server.url + "/more%20%26%20more/deep/", Accept="application/json")[0])
    assert headers["content-type"] == "application/json"
    assert "accept" in headers["vary"].lower()
    assert (page["version"], page["path"], page["kind"], page["writable"]) == (1, "/", "folder", True)
    entries = {entry["path"]: entry for entry in page["entries"]}
    disk = entries["/disk%20image.caibx"]
    assert (disk["kind"], disk["content_size"]) == ("blob-index", 1 << 20)
    assert disk["size"] == (folder / "disk image.caibx").stat().st_size
    assert "chunks" not in entries["/broken.caidx"]
    assert (store["kind"], store["chunks"], store["exact"]) == ("store", disk["chunks"], True)
    assert deep["entries"] == []


def test_the_start_page_of_several_directories(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    with Served(folder, other, writable=True) as server:
        found = Links(get(server.url + "/")[0])
        assert {"./served/", "./other/"} <= set(found.links)
        assert found.codes == []  # nothing can be put there
        assert any("make" in code for code in Links(get(server.url + "/other/")[0]).codes)
        with pytest.raises(HTTPError, match="404") as caught:
            get(server.url + "/absent/")
        caught.value.close()


def test_whose_name_is_used() -> None:
    assert base_url("https", b"files.example:8443") == "https://files.example:8443"
    assert base_url("http", b"[::1]:80") == "http://[::1]:80"
    for host in (b"", b"a b", b"a/b", b"a'b", b"\xff", b"a:b", b"user@host"):
        assert base_url("http", host) == "http://localhost"
    assert wants_json(b"application/json")
    assert not wants_json(b"text/html,application/json;q=0.9")
    assert not wants_json(b"*/*")


def test_a_browser_shows_it(folder: Path, tmp_path: Path, peer: Callable[[str], str]) -> None:
    """Chromium's own view of the document: styled, nothing blocked by the policy, no script."""
    with Served(folder, writable=True) as server:
        command = [peer("chromium"), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        command += [f"--user-data-dir={tmp_path}/profile", "--enable-logging=stderr", "--virtual-time-budget=2000"]
        done = subprocess.run([*command, "--dump-dom", server.url + "/"], capture_output=True, timeout=100)
        shot = tmp_path / "page.png"
        subprocess.run(
            [*command, f"--screenshot={shot}", server.url + "/"], capture_output=True, timeout=100, check=True
        )
    assert b"Content Security Policy" not in done.stderr, done.stderr
    assert b"Put something here" in done.stdout
    assert "script" not in Links(done.stdout).tags
    assert shot.stat().st_size > 5000
