"""Ctrl-C and SIGTERM at random instants of what goes over HTTP: the client ends at once, with one line.

A few tries by default; CASYNC_PY_SOAK=200 is the soak. Each try prints the seed that made its choices.
"""

from __future__ import annotations

import os
import random
import secrets
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from casync_py.testing.castr import store_faults
from casync_py.testing.interrupted import interrupted
from casync_py.testing.serve_process import ServeProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from casync_py.testing.nginx import Nginx

TRIES = int(os.environ.get("CASYNC_PY_SOAK", "4"))
CASYNC_PY = [sys.executable, "-m", "casync_py", "-lerr", "--chunk-size=4K:16K:64K"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a blob, its index and store."""
    folder = tmp_path_factory.mktemp("interrupt")
    (folder / "blob").write_bytes(random.Random(1).randbytes(24 << 20))
    subprocess.run([*CASYNC_PY, "make", "made.caibx", "blob"], cwd=folder, check=True)
    return folder


@pytest.fixture(params=["ours", pytest.param("nginx", marks=pytest.mark.peer("nginx"))])
def url(request: pytest.FixtureRequest, made: Path, tmp_path: Path, start_nginx: Callable[..., Nginx]) -> Iterator[str]:
    """Of the directory that has `made`; what is written goes to directories in it."""
    if request.param == "nginx":
        yield start_nginx(made, writable=True).url
        return
    with ServeProcess(tmp_path / "log", "--writable", made) as server:
        yield server.url
        assert "Traceback" not in server.said()


@pytest.mark.native
@pytest.mark.parametrize("way", ["push", "pull"])
def test_whenever_the_signal_comes(made: Path, url: str, tmp_path: Path, way: str) -> None:
    for number in range(TRIES):
        seed = secrets.randbits(32)
        print(f"{way} {number + 1}/{TRIES} seed={seed}")  # shown where it fails
        if way == "pull":
            arguments = ["extract", f"{url}/made.caibx", str(tmp_path / f"{number}.out")]
        else:
            far = made / tmp_path.name / str(number)
            far.mkdir(parents=True)
            arguments = ["make", f"{url}/{tmp_path.name}/{number}/made.caibx", "blob"]
        interrupted([*CASYNC_PY, *arguments], made, random.Random(seed))
        if way == "push" and (far / "default.castr").exists():
            assert store_faults(far / "default.castr") == []
