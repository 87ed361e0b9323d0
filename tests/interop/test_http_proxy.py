"""`casync-py serve --upstream` in front of nginx: casync, casync-py and desync fetch through it, each chunk once."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from casync_py.testing.castr import index_ids, store_faults
from casync_py.testing.compare import tree_differences
from casync_py.testing.published import NAMES, STORE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from casync_py.testing.nginx import Nginx
    from casync_py.testing.published import Published
    from casync_py.testing.serve_process import ServeProcess

pytestmark = [pytest.mark.peer("casync"), pytest.mark.peer("nginx")]

OURS = [sys.executable, "-m", "casync_py"]


def extract(program: list[str], url: str, name: str, output: Path) -> None:
    done = subprocess.run([*program, "extract", f"{url}/{name}", output], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("client", ["casync", "casync-py"])
@pytest.mark.parametrize("name", NAMES)
def test_through_it(
    start_nginx: Callable[..., Nginx],
    serve: Callable[..., ServeProcess],
    published: Published,
    casync: str,
    tmp_path: Path,
    name: str,
    client: str,
) -> None:
    program = [casync] if client == "casync" else OURS
    nginx = start_nginx(published.folder)
    cache = tmp_path / "cache"
    cache.mkdir()
    proxy = serve(f"--upstream={nginx.url}", cache)
    extract(program, proxy.url, name, tmp_path / "out")
    if name == "blob.caibx":
        assert (tmp_path / "out").read_bytes() == published.blob.read_bytes()
    else:
        assert tree_differences(published.tree, tmp_path / "out") == []
    proxy.stop()  # what it keeps has its place by then
    if name != "tree.catar":
        assert store_faults(cache / STORE) == []
        kept = {path.stem for path in (cache / STORE).glob("????/*.cacnk")}
        assert kept == set(index_ids(published.folder / name))


def test_many_clients_ask_upstream_once(
    start_nginx: Callable[..., Nginx],
    serve: Callable[..., ServeProcess],
    published: Published,
    casync: str,
    tmp_path: Path,
) -> None:
    """Both programs, three times each, at once; then upstream is gone, and what was kept is still given."""
    nginx = start_nginx(published.folder)
    (tmp_path / "cache").mkdir()
    proxy = serve(f"--upstream={nginx.url}", tmp_path / "cache")
    with ThreadPoolExecutor(6) as pool:
        running = [
            pool.submit(extract, [casync] if number % 2 else OURS, proxy.url, "blob.caibx", tmp_path / f"out{number}")
            for number in range(6)
        ]
        for each in running:
            each.result()
    for number in range(6):
        assert (tmp_path / f"out{number}").read_bytes() == published.blob.read_bytes()
    nginx.stop()
    fetched = [line.split()[1] for line in nginx.requests() if line.startswith("GET /default.castr/")]
    assert len(fetched) == len(set(fetched)) == len(set(index_ids(published.folder / "blob.caibx")))
    store = f"--store={proxy.url}/{STORE}"
    command = [*OURS, "extract", store, str(published.folder / "blob.caibx"), str(tmp_path / "without")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "without").read_bytes() == published.blob.read_bytes()


def test_a_chunk_that_is_wrong_upstream_is_not_passed_on(
    start_nginx: Callable[..., Nginx],
    serve: Callable[..., ServeProcess],
    published: Published,
    casync: str,
    tmp_path: Path,
) -> None:
    first, second = index_ids(published.folder / "blob.caibx")[:2]
    chunks = published.folder / STORE
    (chunks / first[:4] / f"{first}.cacnk").write_bytes((chunks / second[:4] / f"{second}.cacnk").read_bytes())
    (tmp_path / "cache").mkdir()
    proxy = serve("--retries=0", f"--upstream={start_nginx(published.folder).url}", tmp_path / "cache")
    for program in ([casync], OURS):
        command = [*program, "extract", f"{proxy.url}/blob.caibx", str(tmp_path / "out")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 1
        assert not (tmp_path / "out").exists()
    proxy.stop()
    assert not (tmp_path / "cache" / STORE / first[:4] / f"{first}.cacnk").exists()
    assert store_faults(tmp_path / "cache" / STORE) == []
