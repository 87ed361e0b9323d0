"""What the tests over HTTP share: a directory that casync made, and servers for it."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from casync_py.testing.nginx import Nginx
from casync_py.testing.published import Published, publish
from casync_py.testing.serve_process import ServeProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class Server(Protocol):
    """What serves a directory: `casync-py serve` or nginx."""

    url: str


@pytest.fixture(scope="session")
def published_once(tmp_path_factory: pytest.TempPathFactory, casync: str) -> Published:
    """A directory made by casync, to be read only."""
    return publish(tmp_path_factory.mktemp("published") / "all", casync)


@pytest.fixture
def published(published_once: Published, tmp_path: Path) -> Published:
    """A copy of it that belongs to the test."""
    shutil.copytree(published_once.folder, tmp_path / "served")
    return Published(tmp_path / "served", published_once.tree, published_once.blob)


@pytest.fixture(scope="session")
def our_url(tmp_path_factory: pytest.TempPathFactory, published_once: Published) -> Iterator[str]:
    """What casync made, on a `casync-py serve` that all tests share."""
    with ServeProcess(tmp_path_factory.mktemp("serve") / "log", published_once.folder) as server:
        yield server.url
    assert "Traceback" not in server.said()


@pytest.fixture(scope="session")
def nginx_url(
    tmp_path_factory: pytest.TempPathFactory, published_once: Published, peer: Callable[[str], str]
) -> Iterator[str]:
    """The same on nginx."""
    with Nginx(tmp_path_factory.mktemp("nginx"), peer("nginx"), published_once.folder) as server:
        yield server.url


@pytest.fixture
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., ServeProcess]]:
    """Starts `casync-py serve` with arguments; each has to end well."""
    started: list[ServeProcess] = []
    log = tmp_path_factory.mktemp("serve") / "log"

    def start(*arguments: str | Path, **options: Any) -> ServeProcess:
        started.append(ServeProcess(log, *arguments, **options))
        return started[-1]

    yield start
    try:
        for server in started:
            if server.process.returncode is None:
                server.stop()
        assert "Traceback" not in (log.read_text() if log.exists() else "")
    finally:
        for server in started:
            server.kill()


@pytest.fixture(params=["ours", pytest.param("nginx", marks=pytest.mark.peer("nginx"))])
def start_server(
    request: pytest.FixtureRequest, serve: Callable[..., ServeProcess], start_nginx: Callable[..., Nginx]
) -> Callable[[Path, bool], Server]:
    """Starts our server or nginx on a directory: `start_server(folder, writable)`."""

    def start(folder: Path, writable: bool = False) -> Server:
        if request.param == "nginx":
            return start_nginx(folder, writable=writable)
        return serve(folder, *(["--writable"] if writable else []))

    return start
