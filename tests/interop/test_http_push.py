"""make over HTTP: to `casync-py serve` and to nginx, and casync extracts what was pushed, over HTTP and in place."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from casync_py.testing.castr import index_faults, index_ids, store_faults
from casync_py.testing.compare import tree_differences
from casync_py.testing.published import INDEXES, NAMES, STORE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from casync_py.testing.nginx import Nginx
    from casync_py.testing.published import Published
    from casync_py.testing.serve_process import ServeProcess

    RunCli = Callable[..., subprocess.CompletedProcess[str]]

pytestmark = pytest.mark.peer("casync")


@pytest.fixture
def there(tmp_path: Path) -> Path:
    """The served directory."""
    folder = tmp_path / "there"
    folder.mkdir()
    return folder


def push(cli: RunCli, *arguments: str | Path) -> dict[str, Any]:
    done = cli("make", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def assert_pushed(published: Published, there: Path, name: str, store: str = STORE) -> None:
    """Index, chunk ids and chunks are those that casync has made of the same source."""
    assert (there / name).read_bytes() == (published.folder / name).read_bytes()
    assert store_faults(there / store) == []
    assert index_faults(there / name, there / store) == []
    names = {path.stem for path in (there / store).glob("????/*.cacnk")}
    assert names == set(index_ids(published.folder / name))


def assert_extracts(casync: str, published: Published, url: str, name: str, output: Path) -> None:
    subprocess.run([casync, "extract", f"{url}/{name}", output], check=True, capture_output=True, timeout=60)
    if name == "blob.caibx":
        assert output.read_bytes() == published.blob.read_bytes()
    else:
        assert tree_differences(published.tree, output) == []


@pytest.mark.parametrize("name", INDEXES)
def test_what_is_pushed_is_what_casync_makes(
    start_server: Callable[..., Any],
    cli: RunCli,
    casync: str,
    published_once: Published,
    there: Path,
    tmp_path: Path,
    name: str,
) -> None:
    """Into an empty store, which is made, and again, when nothing but the index is sent."""
    url = start_server(there, True).url
    source = published_once.source_of(name)
    first = push(cli, f"{url}/{name}", source)
    assert_pushed(published_once, there, name)
    assert first["chunks_new"] == len(set(index_ids(there / name)))
    second = push(cli, f"{url}/{name}", source)
    assert_pushed(published_once, there, name)
    assert second["chunks_new"] == 0
    assert second["digest"] == first["digest"]
    assert second["bytes_sent"] * 4 < first["bytes_sent"]
    assert_extracts(casync, published_once, url, name, tmp_path / "out")
    subprocess.run([casync, "extract", name, tmp_path / "here"], cwd=there, check=True, capture_output=True)


def test_push_of_an_archive(
    start_server: Callable[..., Any], cli: RunCli, casync: str, published_once: Published, there: Path, tmp_path: Path
) -> None:
    url = start_server(there, True).url
    push(cli, f"{url}/tree.catar", published_once.tree)
    assert (there / "tree.catar").read_bytes() == (published_once.folder / "tree.catar").read_bytes()
    assert [path.name for path in there.iterdir()] == ["tree.catar"]
    assert_extracts(casync, published_once, url, "tree.catar", tmp_path / "out")


@pytest.mark.parametrize("options", [["--compression=xz"], ["--compression=gzip"], ["--compression=none"]])
def test_other_compressions_travel(
    start_server: Callable[..., Any],
    cli: RunCli,
    published_once: Published,
    there: Path,
    tmp_path: Path,
    options: list[str],
) -> None:
    url = start_server(there, True).url
    push(cli, *options, f"--store={url}/s.castr", f"{url}/blob.caibx", published_once.blob)
    assert store_faults(there / "s.castr") == []
    assert index_faults(there / "blob.caibx", there / "s.castr") == []
    done = cli("extract", f"--store={url}/s.castr", f"{url}/blob.caibx", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out").read_bytes() == published_once.blob.read_bytes()


@pytest.mark.parametrize("digest", ["sha256", "blake3"])
def test_other_digests_travel(
    start_server: Callable[..., Any], cli: RunCli, published_once: Published, there: Path, tmp_path: Path, digest: str
) -> None:
    """A server that verifies has to find out which digest made the ids."""
    url = start_server(there, True).url
    push(cli, f"--digest={digest}", f"{url}/blob.caibx", published_once.blob)
    done = cli("extract", f"{url}/blob.caibx", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out").read_bytes() == published_once.blob.read_bytes()


def test_only_the_index_or_only_the_store_is_there(
    start_server: Callable[..., Any], cli: RunCli, published_once: Published, there: Path, tmp_path: Path
) -> None:
    url = start_server(there, True).url
    push(cli, f"--store={url}/s.castr", tmp_path / "here.caibx", published_once.blob)
    assert index_faults(tmp_path / "here.caibx", there / "s.castr") == []
    assert not list(there.glob("*.caibx"))
    push(cli, f"--store={url}/s.castr", f"{url}/again.caibx", published_once.blob)
    assert index_faults(there / "again.caibx", there / "s.castr") == []


def test_our_server_takes_no_index_without_its_chunks(
    serve: Callable[..., ServeProcess], cli: RunCli, published_once: Published, there: Path, tmp_path: Path
) -> None:
    """An index there whose store is here is not one that others could use."""
    url = serve(there, "--writable").url
    done = cli("make", f"--store={tmp_path / 'here.castr'}", f"{url}/blob.caibx", published_once.blob)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "blob.caibx" in done.stderr
    assert list(there.iterdir()) == []


@pytest.mark.parametrize("name", NAMES)
def test_not_writable_is_said_at_once(
    start_server: Callable[..., Any], cli: RunCli, published_once: Published, there: Path, name: str
) -> None:
    url = start_server(there).url
    done = cli("make", f"{url}/{name}", published_once.source_of(name))
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert f"{url}/" in done.stderr
    assert list(there.iterdir()) == []


def test_from_the_tree_of_another_store(
    start_nginx: Callable[..., Nginx],
    serve: Callable[..., ServeProcess],
    cli: RunCli,
    casync: str,
    published_once: Published,
    there: Path,
    tmp_path: Path,
) -> None:
    """What was extracted from one server goes to another: the same index, whatever is in between."""
    (there / "deep/er").mkdir(parents=True)
    nginx, ours = start_nginx(published_once.folder), serve(there, "--writable")
    done = cli("extract", f"{nginx.url}/tree.caidx", tmp_path / "copy")
    assert done.returncode == 0, done.stderr
    push(cli, f"{ours.url}/deep/er/tree.caidx", tmp_path / "copy")
    assert (there / "deep/er/tree.caidx").read_bytes() == (published_once.folder / "tree.caidx").read_bytes()
    assert store_faults(there / "deep/er" / STORE) == []
    assert_extracts(casync, published_once, f"{ours.url}/deep/er", "tree.caidx", tmp_path / "out")
