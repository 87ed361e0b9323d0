"""curl, a client that knows HTTP and nothing of casync: ranges, conditions, types, uploads, from `casync-py serve`."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest

from casync_py.testing.castr import index_ids, store_faults
from casync_py.testing.published import STORE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from casync_py.testing.published import Published
    from casync_py.testing.serve_process import ServeProcess

pytestmark = pytest.mark.peer("curl")

TYPES = {
    "tree.caidx": "application/vnd.casync.index",
    "blob.caibx": "application/vnd.casync.index",
    "tree.catar": "application/vnd.casync.archive",
    STORE: "application/zstd",
}


class Curl:
    """Runs curl; answers go to files of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir()

    def ask(self, url: str, *arguments: str | Path) -> tuple[int, dict[str, str], bytes]:
        """Status, headers with names in lower case, and body of the last answer."""
        head, content = self._folder / "head", self._folder / "content"
        content.unlink(missing_ok=True)
        command = ["curl", "-sS", "--path-as-is", "-D", str(head), "-o", str(content), *map(str, arguments), url]
        subprocess.run(command, check=True, timeout=30)
        last = head.read_text().rstrip().split("\n\n")[-1].splitlines()
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in last[1:])}
        return int(last[0].split()[1]), headers, content.read_bytes() if content.exists() else b""


@pytest.fixture
def curl(tmp_path: Path) -> Curl:
    return Curl(tmp_path / "curl")


@pytest.fixture
def url(our_url: str) -> str:
    return our_url


@pytest.fixture(params=[*TYPES])
def path(request: pytest.FixtureRequest, published_once: Published) -> str:
    """A file of each kind, below the served directory."""
    if request.param != STORE:
        return str(request.param)
    name = index_ids(published_once.folder / "blob.caibx")[0]
    return f"{STORE}/{name[:4]}/{name}.cacnk"


def test_whole(curl: Curl, url: str, published_once: Published, path: str) -> None:
    content = (published_once.folder / path).read_bytes()
    status, headers, body = curl.ask(f"{url}/{path}")
    assert (status, body) == (200, content)
    assert headers["content-type"] == TYPES[path.partition("/")[0]]
    assert headers["accept-ranges"] == "bytes"
    assert "content-encoding" not in headers
    immutable = path.startswith(STORE)
    assert headers["cache-control"] == ("public, max-age=31536000, immutable" if immutable else "no-cache")
    status, head, body = curl.ask(f"{url}/{path}", "--head")
    assert (status, head["content-length"], head["etag"]) == (200, str(len(content)), headers["etag"])


@pytest.mark.parametrize(
    ("wanted", "start", "end"), [("0-0", 0, 1), ("10-99", 10, 100), ("100-", 100, None), ("-7", -7, None)]
)
def test_ranges(
    curl: Curl, url: str, published_once: Published, path: str, wanted: str, start: int, end: int | None
) -> None:
    content = (published_once.folder / path).read_bytes()
    status, headers, body = curl.ask(f"{url}/{path}", "-r", wanted)
    assert (status, body) == (206, content[start:end])
    first = start % len(content)
    assert headers["content-range"] == f"bytes {first}-{first + len(body) - 1}/{len(content)}"
    status, headers, body = curl.ask(f"{url}/{path}", "-r", f"{len(content)}-")
    assert status == 416
    assert headers["content-range"] == f"bytes */{len(content)}"


def test_conditions(curl: Curl, url: str, published_once: Published, path: str) -> None:
    content = (published_once.folder / path).read_bytes()
    etag = curl.ask(f"{url}/{path}", "--head")[1]["etag"]
    assert curl.ask(f"{url}/{path}", "-H", f"If-None-Match: {etag}")[0] == 304
    assert curl.ask(f"{url}/{path}", "-H", f'If-None-Match: "x", {etag}')[0] == 304
    assert curl.ask(f"{url}/{path}", "-H", 'If-None-Match: "other"')[::2] == (200, content)
    assert curl.ask(f"{url}/{path}", "-r", "5-", "-H", f"If-Range: {etag}")[::2] == (206, content[5:])
    assert curl.ask(f"{url}/{path}", "-r", "5-", "-H", 'If-Range: "other"')[::2] == (200, content)


def test_download_that_was_cut_goes_on(curl: Curl, url: str, published_once: Published, tmp_path: Path) -> None:
    content = (published_once.folder / "tree.catar").read_bytes()
    (tmp_path / "part").write_bytes(content[:1000])
    subprocess.run(["curl", "-sS", "-C", "-", "-o", tmp_path / "part", f"{url}/tree.catar"], check=True, timeout=30)
    assert (tmp_path / "part").read_bytes() == content


def test_plain_form_on_the_way(curl: Curl, url: str, published_once: Published) -> None:
    """A chunk that is stored compressed, without its suffix; a weak tag, and no ranges of what is made anew."""
    name = index_ids(published_once.folder / "blob.caibx")[0]
    status, headers, body = curl.ask(f"{url}/{STORE}/{name[:4]}/{name}", "-r", "0-9")
    assert status == 200
    assert published_once.blob.read_bytes().startswith(body)
    assert headers["etag"] == f'W/"{name}"'
    assert headers["content-type"] == "application/octet-stream"


def test_uploads(curl: Curl, serve: Callable[..., ServeProcess], published_once: Published, tmp_path: Path) -> None:
    """An index after its chunks, in one line of a shell each; the second time they were there."""
    folder = tmp_path / "there"
    folder.mkdir()
    url = serve(folder, "--writable").url
    index = published_once.folder / "blob.caibx"
    status, _headers, said = curl.ask(f"{url}/blob.caibx", "-T", index)
    assert status == 409
    assert b"default.castr" in said
    assert index_ids(index)[0].encode() in said
    for expected in (201, 204):
        for name in dict.fromkeys(index_ids(index)):
            chunk = f"{name[:4]}/{name}.cacnk"
            assert curl.ask(f"{url}/{STORE}/{chunk}", "-T", published_once.store / chunk)[0] == expected
        assert curl.ask(f"{url}/blob.caibx", "-T", index)[0] == expected
    assert (folder / "blob.caibx").read_bytes() == index.read_bytes()
    assert store_faults(folder / STORE) == []
    name, other = index_ids(index)[:2]
    wrong = published_once.store / name[:4] / f"{name}.cacnk"
    status, _headers, said = curl.ask(f"{url}/{STORE}/{other[:4]}/{other}.cacnk", "-T", wrong)
    assert status in {204, 422}  # there already; what is sent instead changes nothing
    assert store_faults(folder / STORE) == []


def test_health_page_and_metrics(curl: Curl, url: str) -> None:
    assert curl.ask(f"{url}/-/health")[0] == 200
    status, headers, body = curl.ask(f"{url}/-/metrics")
    assert (status, headers["content-type"].partition(";")[0]) == (200, "text/plain")
    assert b"# TYPE" in body
    status, headers, body = curl.ask(f"{url}/")
    assert (status, headers["content-type"].partition(";")[0]) == (200, "text/html")
    for name in ("tree.caidx", "blob.caibx", "tree.catar", f"{url}/tree.caidx"):
        assert name.encode() in body
    assert b"<script" not in body
    status, headers, body = curl.ask(f"{url}/", "-H", "Accept: application/json")
    assert (status, headers["content-type"].partition(";")[0]) == (200, "application/json")
    assert "blob.caibx" in json.dumps(json.loads(body))
