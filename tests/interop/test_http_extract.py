"""casync and casync-py as clients of `casync-py serve` and of nginx: all verbs, with what casync published."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from casync_py.testing.castr import index_ids
from casync_py.testing.compare import tree_differences
from casync_py.testing.published import INDEXES, NAMES, STORE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from casync_py.testing.nginx import Nginx
    from casync_py.testing.published import Published
    from casync_py.testing.serve_process import ServeProcess

pytestmark = pytest.mark.peer("casync")

OURS = [sys.executable, "-m", "casync_py"]


class Client:
    """A program with casync's command line."""

    def __init__(self, command: list[str]) -> None:
        self._command = command

    def run(self, *arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run it; it must not hang, and has to succeed."""
        done = subprocess.run(
            [*self._command, *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env={**os.environ, **environment},
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        return done

    def report(self, *arguments: str | Path) -> dict[str, Any]:
        """The object that --json prints."""
        found: dict[str, Any] = json.loads(self.run("--json", *arguments).stdout)
        return found


@pytest.fixture(params=["casync", "casync-py"])
def client(request: pytest.FixtureRequest, casync: str) -> Client:
    return Client([casync] if request.param == "casync" else OURS)


@pytest.fixture(params=["our_url", pytest.param("nginx_url", marks=pytest.mark.peer("nginx"))], ids=["ours", "nginx"])
def url(request: pytest.FixtureRequest) -> str:
    server_url: str = request.getfixturevalue(request.param)
    return server_url


def locally(casync: str, published: Published, *arguments: str) -> str:
    """What casync prints in the directory itself."""
    return subprocess.run([casync, *arguments], cwd=published.folder, check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("name", NAMES)
def test_extract(client: Client, url: str, published_once: Published, tmp_path: Path, name: str) -> None:
    client.run("extract", f"{url}/{name}", tmp_path / "out")
    if name == "blob.caibx":
        assert (tmp_path / "out").read_bytes() == published_once.blob.read_bytes()
    else:
        assert tree_differences(published_once.tree, tmp_path / "out") == []


@pytest.mark.parametrize("name", ["tree.caidx", "tree.catar"])
@pytest.mark.parametrize("verb", ["list", "mtree", "digest"])
def test_read(client: Client, url: str, published_once: Published, casync: str, verb: str, name: str) -> None:
    assert client.run(verb, f"{url}/{name}").stdout == locally(casync, published_once, verb, name)


def test_digest_of_a_blob(client: Client, url: str, published_once: Published, casync: str) -> None:
    expected = locally(casync, published_once, "digest", "blob.caibx")
    assert client.run("digest", f"{url}/blob.caibx").stdout == expected


def test_stat(url: str, published_once: Published, casync: str) -> None:
    """casync cannot, over HTTP: it looks for a place in the archive before the index is there."""
    for name in ("tree.caidx", "tree.catar"):
        found = Client(OURS).run("stat", f"{url}/{name}", "d1").stdout
        assert found == locally(casync, published_once, "stat", name, "d1")


def test_index_or_store_alone_is_remote(client: Client, url: str, published_once: Published, tmp_path: Path) -> None:
    client.run("extract", f"--store={url}/{STORE}", published_once.folder / "blob.caibx", tmp_path / "by-store")
    client.run("extract", f"--store={published_once.store}", f"{url}/blob.caibx", tmp_path / "by-index")
    content = published_once.blob.read_bytes()
    assert (tmp_path / "by-store").read_bytes() == content
    assert (tmp_path / "by-index").read_bytes() == content


def test_locators_have_queries_and_slashes(client: Client, url: str, published_once: Published, tmp_path: Path) -> None:
    """A query goes with the index and is cut from the store, as slashes are."""
    client.run("extract", f"--store={url}/{STORE}//?q=1", f"{url}/blob.caibx?version=2", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == published_once.blob.read_bytes()


@pytest.mark.parametrize("compression", ["xz", "gzip", "none"])
def test_other_forms(
    start_server: Callable[..., Any], published: Published, tmp_path: Path, casync: str, compression: str
) -> None:
    """Chunks as casync and desync store them: other compressions, and plain ones without a suffix."""
    store = published.folder / "other.castr"
    Client(OURS).run(
        "make", f"--compression={compression}", f"--store={store}", tmp_path / "blob.caibx", published.blob
    )
    url = start_server(published.folder).url
    Client(OURS).run("extract", f"--store={url}/other.castr", f"{url}/blob.caibx", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == published.blob.read_bytes()
    if compression != "none":
        Client([casync]).run("extract", f"--store={url}/other.castr", f"{url}/blob.caibx", tmp_path / "out2")
        assert (tmp_path / "out2").read_bytes() == published.blob.read_bytes()


@pytest.mark.parametrize("served", ["plain", "compressed"])
def test_our_server_gives_each_form_of_what_it_has(
    serve: Callable[..., ServeProcess], published: Published, tmp_path: Path, casync: str, served: str
) -> None:
    """casync asks for .cacnk only; a client with another suffix finds plain ones."""
    store = published.folder / "plain.castr"
    options = ["--compression=none"] if served == "plain" else []
    Client(OURS).run("make", *options, f"--store={store}", tmp_path / "blob.caibx", published.blob)
    url = serve(published.folder).url
    environment = {"CASYNC_COMPRESSED_CHUNK_SUFFIX": ".none"} if served == "compressed" else {}
    client = Client(OURS if served == "compressed" else [casync])
    client.run("extract", f"--store={url}/plain.castr", f"{url}/blob.caibx", tmp_path / "out", **environment)
    assert (tmp_path / "out").read_bytes() == published.blob.read_bytes()


def test_what_the_store_cache_has_is_not_fetched(url: str, published_once: Published, tmp_path: Path) -> None:
    cached = f"--cache-store={tmp_path / 'cache.castr'}"
    first = Client(OURS).report("extract", cached, f"{url}/tree.caidx", tmp_path / "first")
    second = Client(OURS).report("extract", cached, f"{url}/tree.caidx", tmp_path / "second")
    assert first["bytes_received"] > sum(chunk.stat().st_size for chunk in (tmp_path / "cache.castr").rglob("*.cacnk"))
    assert second["bytes_received"] < (published_once.folder / "tree.caidx").stat().st_size + 2000  # and headers
    assert tree_differences(tmp_path / "first", tmp_path / "second") == []


@pytest.mark.parametrize("name", INDEXES)
def test_several_stores(
    start_nginx: Callable[..., Nginx],
    serve: Callable[..., ServeProcess],
    published: Published,
    tmp_path: Path,
    name: str,
) -> None:
    """Half of the chunks on nginx, the others on our server."""
    other = published.folder / "other" / STORE
    for chunk in published.chunks()[::2]:
        target = other / chunk.parent.name / chunk.name
        target.parent.mkdir(parents=True, exist_ok=True)
        chunk.rename(target)
    nginx, ours = start_nginx(published.folder), serve(published.folder / "other")
    Client(OURS).run(
        "extract",
        f"--store={nginx.url}/{STORE}",
        f"--extra-store={ours.url}/{STORE}",
        f"{nginx.url}/{name}",
        tmp_path / "out",
    )
    if name == "blob.caibx":
        assert (tmp_path / "out").read_bytes() == published.blob.read_bytes()
    else:
        assert tree_differences(published.tree, tmp_path / "out") == []


def test_mirrors(start_server: Callable[..., Any], published: Published, tmp_path: Path) -> None:
    """The store's server is gone; its mirror has everything."""
    url = start_server(published.folder).url
    gone = "http://127.0.0.1:1/default.castr"  # nothing listens there
    Client(OURS).run(
        "extract", "--retries=1", f"--store={gone}", f"--mirror={url}/{STORE}", f"{url}/blob.caibx", tmp_path / "out"
    )
    assert (tmp_path / "out").read_bytes() == published.blob.read_bytes()


def test_what_is_not_there_is_named(start_server: Callable[..., Any], published: Published, tmp_path: Path) -> None:
    missing = index_ids(published.folder / "blob.caibx")[3]
    (published.store / missing[:4] / f"{missing}.cacnk").unlink()
    url = start_server(published.folder).url
    for name, named in (
        ("no.caibx", f"{url}/no.caibx"),
        ("no.catar", f"{url}/no.catar"),
        ("blob.caibx", missing),
    ):
        command = [*OURS, "extract", f"{url}/{name}", str(tmp_path / f"{name}.out")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 1
        assert named in done.stderr.splitlines()[-1]  # before it stands that what arrived is kept
