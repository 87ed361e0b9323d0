"""desync reads from and writes to `casync-py serve`, its servers serve casync-py, and its stores are ours too."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from typing import TYPE_CHECKING

import pytest

from casync_py.testing.castr import index_faults, index_ids, store_faults
from casync_py.testing.published import STORE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from casync_py.testing.published import Published
    from casync_py.testing.serve_process import ServeProcess

    RunCli = Callable[..., subprocess.CompletedProcess[str]]

pytestmark = pytest.mark.peer("desync")

FORMS = ["compressed", "plain"]


class Desync:
    """The program, with a configuration that makes stores compressed or plain."""

    def __init__(self, program: str, folder: Path, form: str) -> None:
        self.program = program
        self.folder = folder
        self.form = form
        (folder / "config.json").write_text("{}")

    def run(self, *arguments: str | Path) -> str:
        """Run it; it has to succeed."""
        command = [self.program, f"--config={self.folder / 'config.json'}", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=self.folder)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def configure(self, *locations: str) -> None:
        """Let these stores be of its form."""
        rows = ", ".join(f'"{location}": {{"uncompressed": true}}' for location in locations)
        if self.form == "plain":
            (self.folder / "config.json").write_text(f'{{"store-options": {{{rows}}}}}')


@pytest.fixture(params=FORMS)
def desync(request: pytest.FixtureRequest, peer: Callable[[str], str], tmp_path: Path) -> Desync:
    (tmp_path / "desync").mkdir()
    return Desync(peer("desync"), tmp_path / "desync", request.param)


@pytest.fixture
def there(tmp_path: Path) -> Path:
    """The served directory."""
    folder = tmp_path / "there"
    folder.mkdir()
    return folder


def test_it_reads_from_our_server(
    desync: Desync, serve: Callable[..., ServeProcess], published_once: Published, tmp_path: Path
) -> None:
    """An index and its chunks, from a store as casync made it; also the plain form of compressed chunks."""
    url = serve(published_once.folder).url
    desync.configure(f"{url}/{STORE}")
    desync.run("extract", "-s", f"{url}/{STORE}", f"{url}/blob.caibx", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == published_once.blob.read_bytes()
    (tmp_path / "copied.castr").mkdir()
    desync.run("cache", "-s", f"{url}/{STORE}", "-c", tmp_path / "copied.castr", f"{url}/blob.caibx")
    assert index_faults(published_once.folder / "blob.caibx", tmp_path / "copied.castr") == []


def test_it_writes_to_our_server(
    desync: Desync,
    serve: Callable[..., ServeProcess],
    cli: RunCli,
    casync: str,
    published_once: Published,
    there: Path,
    tmp_path: Path,
) -> None:
    """Index and chunks in one `make`; casync and casync-py read what it wrote."""
    (there / STORE).mkdir()
    url = serve(there, "--writable").url
    desync.configure(f"{url}/{STORE}")
    desync.run("make", "-s", f"{url}/{STORE}", f"{url}/blob.caibx", published_once.blob)
    assert index_ids(there / "blob.caibx") == index_ids(published_once.folder / "blob.caibx")
    assert store_faults(there / STORE) == []
    assert index_faults(there / "blob.caibx", there / STORE) == []
    done = cli("extract", f"{url}/blob.caibx", tmp_path / "by-us")
    assert done.returncode == 0, done.stderr
    subprocess.run([casync, "extract", f"{url}/blob.caibx", tmp_path / "by-casync"], check=True, capture_output=True)
    for name in ("by-us", "by-casync"):
        assert (tmp_path / name).read_bytes() == published_once.blob.read_bytes()


def test_it_uploads_what_an_index_lists(
    desync: Desync, serve: Callable[..., ServeProcess], published_once: Published, there: Path
) -> None:
    """`chop` and `cache` ask with HEAD, and send what is not there by PUT."""
    url = serve(there, "--writable").url
    index = published_once.folder / "blob.caibx"
    desync.configure(f"{url}/chopped.castr", f"{url}/cached.castr")
    desync.run("chop", "-s", f"{url}/chopped.castr", index, published_once.blob)
    assert store_faults(there / "chopped.castr") == []
    assert index_faults(index, there / "chopped.castr") == []
    desync.run("cache", "-s", published_once.store, "-c", f"{url}/cached.castr", index)
    assert store_faults(there / "cached.castr") == []
    assert index_faults(index, there / "cached.castr") == []


def test_its_tree_is_ours(
    desync: Desync,
    serve: Callable[..., ServeProcess],
    cli: RunCli,
    published_once: Published,
    there: Path,
    tmp_path: Path,
) -> None:
    """A tree that it archives and pushes is one that we list, and the other way round."""
    root = serve(there, published_once.folder, "--writable").url
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").write_text("content\n" * 10_000)
    (source / "link").symlink_to("file")
    desync.configure(f"{root}/there/{STORE}", f"{root}/served/{STORE}")
    desync.run("tar", "-i", "-s", f"{root}/there/{STORE}", f"{root}/there/tree.caidx", source)
    listed = cli("list", f"{root}/there/tree.caidx")
    assert listed.returncode == 0, listed.stderr
    assert [line.split()[-3:] for line in listed.stdout.splitlines() if "link" in line]
    done = cli("extract", f"{root}/there/tree.caidx", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out/file").read_text() == (source / "file").read_text()


@pytest.fixture
def its_server(desync: Desync) -> Iterator[Callable[..., str]]:
    """Starts `desync chunk-server` or `index-server`; returns its URL."""
    started = []

    def start(kind: str, *arguments: str | Path) -> str:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        command = [desync.program, f"--config={desync.folder / 'config.json'}", kind, "-l", f"127.0.0.1:{port}", "-w"]
        started.append(subprocess.Popen([*command, *map(str, arguments)], stderr=subprocess.DEVNULL))
        answers(port)
        return f"http://127.0.0.1:{port}"

    yield start
    for process in started:
        process.send_signal(signal.SIGTERM)
        process.wait()


def answers(port: int) -> None:
    """Wait until somebody listens there."""
    curl = ["curl", "-sS", "-o", os.devnull, "--retry", "60", "--retry-connrefused", "--retry-delay", "1"]
    subprocess.run([*curl, "--retry-max-time", "30", f"http://127.0.0.1:{port}/"], check=True)


def test_we_read_from_and_write_to_its_servers(
    desync: Desync,
    its_server: Callable[..., str],
    cli: RunCli,
    published_once: Published,
    there: Path,
    tmp_path: Path,
) -> None:
    store = there / STORE
    store.mkdir()
    desync.configure(str(store))
    plain = ["-u"] if desync.form == "plain" else []
    chunks, indexes = its_server("chunk-server", *plain, "-s", store), its_server("index-server", "-s", there)
    compression = ["--compression=none"] if plain else []
    done = cli("make", *compression, f"--store={chunks}", f"{indexes}/blob.caibx", published_once.blob)
    assert done.returncode == 0, done.stderr
    assert (there / "blob.caibx").read_bytes() == (published_once.folder / "blob.caibx").read_bytes()
    assert store_faults(store) == []
    assert index_faults(there / "blob.caibx", store) == []
    done = cli("extract", f"--store={chunks}", f"{indexes}/blob.caibx", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out").read_bytes() == published_once.blob.read_bytes()


def test_it_refuses_what_is_wrong_by_name(
    desync: Desync, serve: Callable[..., ServeProcess], published_once: Published, there: Path
) -> None:
    """An index without its chunks is not taken from it either."""
    url = serve(there, "--writable").url
    command = [desync.program, "make", f"{url}/blob.caibx", str(published_once.blob)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert f"chunks are not in /{STORE}" in done.stderr
    assert not (there / "blob.caibx").exists()
