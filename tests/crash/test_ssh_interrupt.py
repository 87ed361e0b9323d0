"""Ctrl-C and SIGTERM at random instants of a push or pull: the client ends at once, with one line, and nobody is left.

A few tries by default; CASYNC_PY_SOAK=200 is the soak. Each try prints the seed that made its choices.
"""

from __future__ import annotations

import os
import random
import secrets
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from casync_py.testing.castr import store_faults
from casync_py.testing.interrupted import LIMIT_S, interrupted

if TYPE_CHECKING:
    from pathlib import Path

TRIES = int(os.environ.get("CASYNC_PY_SOAK", "4"))


@pytest.fixture(scope="module")
def environment(stand_in: Path, far_programs: Path) -> dict[str, str]:
    path = f"{far_programs}:{os.environ['PATH']}"
    return os.environ | {"CASYNC_SSH_PATH": str(stand_in), "PATH": path}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str]) -> Path:
    """A folder with a blob, its index and store."""
    folder = tmp_path_factory.mktemp("interrupt")
    (folder / "blob").write_bytes(random.Random(1).randbytes(24 << 20))
    subprocess.run([*CASYNC_PY, "make", "made.caibx", "blob"], cwd=folder, env=environment, check=True)
    return folder


CASYNC_PY = [sys.executable, "-m", "casync_py", "-lerr", "--chunk-size=4K:16K:64K"]


@pytest.mark.native
@pytest.mark.parametrize("way", ["push", "pull"])
def test_whenever_the_signal_comes(made: Path, environment: dict[str, str], tmp_path: Path, way: str) -> None:
    for number in range(TRIES):
        seed = secrets.randbits(32)
        print(f"{way} {number + 1}/{TRIES} seed={seed}")  # shown where it fails
        far = made if way == "pull" else tmp_path / str(number)
        far.mkdir(exist_ok=True)
        if way == "push":
            arguments = ["make", f"h:{far}/made.caibx", "blob"]
        else:
            arguments = ["extract", f"h:{far}/made.caibx", str(tmp_path / f"{number}.out")]
        interrupted([*CASYNC_PY, *arguments], made, random.Random(seed), environment)
        if way == "push" and (far / "default.castr").exists():
            wait_for_the_server(far / "default.castr")
            assert store_faults(far / "default.castr") == []


def wait_for_the_server(store: Path) -> None:
    """The server ends when its pipes do, a moment after the client: nobody has the store's lock then."""
    until = time.monotonic() + LIMIT_S
    while subprocess.run(["flock", "--nonblock", store, "true"]).returncode:
        assert time.monotonic() < until
        time.sleep(0.05)
