"""URLs wherever a verb takes a locator: archives, indexes and stores, together and each for itself."""

from __future__ import annotations

import random
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from casync_py.api import extract, make
from casync_py.errors import ChunkInvalid, ChunkMissing, PeerError, UsageError
from casync_py.options import Resources, Settings
from casync_py.remote.open import open_remote
from casync_py.remotes.http.endpoint import HttpEndpoint
from casync_py.testing.castr import store_faults
from casync_py.testing.serving import Served
from casync_py.testing.web import ScriptedServer, answer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SETTINGS = Settings(
    chunk_size=(1 << 12, 1 << 14, 1 << 16), retries=0, timeout=20.0, resources=Resources(jobs=2, memory=8 << 20)
)


@pytest.fixture(name="blob")
def _blob(tmp_path: Path) -> Path:
    path = tmp_path / "blob"
    path.write_bytes(random.Random(1).randbytes(1 << 19) * 2)
    return path


@pytest.fixture(name="tree")
def _tree(tmp_path: Path) -> Path:
    path = tmp_path / "tree"
    (path / "sub").mkdir(parents=True)
    (path / "a").write_bytes(random.Random(2).randbytes(200_000))
    (path / "sub/b").write_text("hello")
    return path


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    (tmp_path / "served").mkdir()
    return tmp_path / "served"


@pytest.fixture(name="server")
def _server(folder: Path) -> Iterator[Served]:
    with Served(folder, writable=True) as server:
        yield server


def test_index_and_store_there(server: Served, folder: Path, blob: Path, tmp_path: Path) -> None:
    made = make(f"{server.url}/x.caibx", str(blob), SETTINGS)
    assert made.store == f"{server.url}/default.castr"
    assert made.chunks_new
    make(str(tmp_path / "near.caibx"), str(blob), SETTINGS)
    assert (folder / "x.caibx").read_bytes() == (tmp_path / "near.caibx").read_bytes()
    assert store_faults(folder / "default.castr") == []
    result = extract(f"{server.url}/x.caibx", str(tmp_path / "out"), settings=SETTINGS)
    assert (tmp_path / "out").read_bytes() == blob.read_bytes()
    assert result.bytes_received > blob.stat().st_size // 2


def test_index_here_and_store_there(server: Served, blob: Path, tmp_path: Path) -> None:
    settings = replace(SETTINGS, store=f"{server.url}/other.castr/")
    make(str(tmp_path / "x.caibx"), str(blob), settings)
    extract(str(tmp_path / "x.caibx"), str(tmp_path / "out"), settings=settings)
    assert (tmp_path / "out").read_bytes() == blob.read_bytes()


def test_index_there_and_store_here(server: Served, folder: Path, blob: Path, tmp_path: Path) -> None:
    """Only where the server has the chunks too."""
    settings = replace(SETTINGS, store=str(tmp_path / "near.castr"))
    with pytest.raises(PeerError, match="409"):
        make(f"{server.url}/x.caibx", str(blob), settings)
    assert not (folder / "x.caibx").exists()
    shutil.copytree(tmp_path / "near.castr", folder / "default.castr")
    make(f"{server.url}/x.caibx", str(blob), settings)
    extract(f"{server.url}/x.caibx", str(tmp_path / "out"), settings=settings)
    assert (tmp_path / "out").read_bytes() == blob.read_bytes()


def test_a_store_that_is_not_the_default_one(server: Served, folder: Path, blob: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "stores").mkdir()
    make(f"{server.url}/sub/x.caibx", str(blob), replace(SETTINGS, store=f"{server.url}/stores/a%20b.castr"))
    assert store_faults(folder / "stores/a b.castr") == []
    assert (folder / "sub/x.caibx").exists()


def test_archives(server: Served, folder: Path, tree: Path, tmp_path: Path) -> None:
    make(f"{server.url}/t.catar", str(tree), SETTINGS)
    make(str(tmp_path / "t.catar"), str(tree), SETTINGS)
    assert (folder / "t.catar").read_bytes() == (tmp_path / "t.catar").read_bytes()
    extract(f"{server.url}/t.catar", str(tmp_path / "out"), settings=SETTINGS)
    assert (tmp_path / "out/sub/b").read_text() == "hello"


def test_one_object_of_a_tree(server: Served, tree: Path, tmp_path: Path) -> None:
    make(f"{server.url}/t.caidx", str(tree), SETTINGS)
    extract(f"{server.url}/t.caidx", str(tmp_path / "out"), "sub/b", settings=SETTINGS)
    assert (tmp_path / "out/b").read_text() == "hello"


def test_the_next_store_of_a_server_has_what_the_first_has_broken(
    server: Served, folder: Path, blob: Path, tmp_path: Path
) -> None:
    make(f"{server.url}/x.caibx", str(blob), SETTINGS)
    shutil.copytree(folder / "default.castr", folder / "second.castr")
    chunks = sorted((folder / "default.castr").rglob("*.cacnk"))
    chunks[0].write_bytes(chunks[1].read_bytes())
    chunks[2].unlink()
    with pytest.raises((ChunkInvalid, ChunkMissing)):
        extract(f"{server.url}/x.caibx", str(tmp_path / "out"), settings=SETTINGS)
    settings = replace(SETTINGS, extra_stores=(f"{server.url}/second.castr",))
    extract(f"{server.url}/x.caibx", str(tmp_path / "out"), settings=settings)
    assert (tmp_path / "out").read_bytes() == blob.read_bytes()


@pytest.mark.parametrize("name", ["x.caibx", "x.caidx", "x.catar"])
def test_where_nothing_can_be_written_nothing_is_read(folder: Path, tree: Path, blob: Path, name: str) -> None:
    with Served(folder) as server, pytest.raises(UsageError, match="lets nobody write"):
        make(f"{server.url}/{name}", str(blob if name == "x.caibx" else tree), SETTINGS)
    assert list(folder.iterdir()) == []


def test_secrets_of_a_url_stay_unsaid(blob: Path, tmp_path: Path) -> None:
    refusal = answer(403, b"No\n", "Content-Type: text/plain")
    with ScriptedServer(lambda _asked: [refusal]) as server:
        url = server.url("/x.caibx").replace("//", "//me:sesame@") + "?key=sesame"
        for run in (lambda: extract(url, str(tmp_path / "out"), settings=SETTINGS), lambda: make(url, str(blob))):
            with pytest.raises(PeerError, match=r"127\.0\.0\.1") as caught:
                run()
            assert "sesame" not in str(caught.value)
        assert all(asked.headers["authorization"].startswith("Basic ") for asked in server.asked)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("http://h/a.caibx", "http://H:80/s.castr", True),
        ("http://h/a", "http://h:81/a", False),
        ("http://h/a", "https://h/a", False),
        ("http://u:p@h/a", "http://h/a", False),
        ("http://u:p@h/a", "http://u:p@h/b", True),
    ],
)
def test_what_shares_connections(one: str, other: str, same: bool) -> None:
    first, second = open_remote(one), open_remote(other)
    assert isinstance(first, HttpEndpoint)
    assert isinstance(second, HttpEndpoint)
    assert (first.connection == second.connection) == same


@pytest.mark.parametrize("url", ["http://h:99999/x", "http://a b/x", "https://[zz]/x"])
def test_what_is_no_url(url: str) -> None:
    with pytest.raises(UsageError, match="Not a"):
        HttpEndpoint(replace(open_remote("http://h/x").locator, text=url))
