"""A pull whose connection is cut, again and again, arrives in the end, and no chunk comes twice.

One try by default; CASYNC_PY_SOAK=100 is the soak.
"""

from __future__ import annotations

import json
import os
import random
import secrets
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from casync_py.api import make
from casync_py.format.index import Index
from casync_py.options import Settings
from casync_py.testing.castr import store_faults
from casync_py.testing.compare import tree_differences
from casync_py.testing.ssh import relayed

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    Run = Callable[..., subprocess.CompletedProcess[str]]

TRIES = int(os.environ.get("CASYNC_PY_SOAK", "1"))
SEED = int(os.environ.get("CASYNC_PY_SOAK_SEED", secrets.randbits(32)))
AHEAD = 3 << 20  # bytes of chunks that may be under way, or checked and not yet written, when a connection is cut


@dataclass(frozen=True, slots=True)
class Far:
    """An index and its store on another machine, what they hold, and the ways there."""

    index: Path
    source: Path
    store: Path
    stand_in: Path
    relay: Path
    target: Path
    cache: Path

    def words(self) -> list[str]:
        words = ["extract", "-lerr", "--without=privileged", "--json", f"--store=host:{self.store}"]
        if self.index.suffix == ".caidx":
            words.append(f"--cache-store={self.cache}")
        return [*words, f"host:{self.index}", str(self.target)]

    def assert_arrived(self) -> None:
        if self.source.is_dir():
            assert tree_differences(self.source, self.target) == []
            assert store_faults(self.cache) == []
        else:
            assert self.target.read_bytes() == self.source.read_bytes()
            assert not self.target.with_name(f".{self.target.name}.partial").exists()


@pytest.fixture(params=["caibx", "caidx"])
def far(request: pytest.FixtureRequest, tmp_path: Path, stand_in: Path, relay: Path) -> Far:
    rng = random.Random(8)
    source = tmp_path / "source"
    if request.param == "caibx":
        source.write_bytes(rng.randbytes(6 << 20))
    else:
        source.mkdir()
        for number in range(200):
            (source / f"file {number}").write_bytes(rng.randbytes(30_000))
    index = tmp_path / f"made.{request.param}"
    make(str(index), str(source), Settings(store=str(tmp_path / "store.castr"), chunk_size=(0, 8192, 0)))
    return Far(index, source, tmp_path / "store.castr", stand_in, relay, tmp_path / "target", tmp_path / "cache.castr")


def cut(far: Far, after: int) -> dict[str, str]:
    way = relayed(far.index.parent / "cut", far.stand_in, far.relay, [f"--cut-after={after}"])
    return {"CASYNC_SSH_PATH": str(way)}


@pytest.mark.timeout(60 + 30 * TRIES)
def test_what_arrived_before_a_cut_does_not_come_again(far: Far, cli: Run) -> None:
    rng = random.Random(f"{SEED} {far.index.suffix}")
    with Index.open(far.index) as index:
        rows, different = len(index), len(set(index.ids()))
    assert rows == different
    for _ in range(TRIES):
        passed = 0
        cuts = [rng.randrange(2000, 4 << 20) for _ in range(rng.randrange(1, 3))]
        print(f"seed={SEED} cuts={cuts}")
        for after in cuts:
            done = cli(*far.words(), env=cut(far, after))
            if done.returncode == 0:
                break
            assert "Traceback" not in done.stderr
            assert done.stdout == ""
            passed += max(0, after - AHEAD)
        last = cli(*far.words(), env={"CASYNC_SSH_PATH": str(far.stand_in)})
        assert last.returncode == 0, last.stderr
        far.assert_arrived()
        result = json.loads(last.stdout)
        assert result["chunks"] + result["chunks_reused"] == rows
        # Six mebibytes that do not compress, in all of the runs together, and what a cut makes useless.
        assert result["bytes_received"] <= (6 << 20) * 1.05 - passed
        if far.source.is_dir():
            shutil.rmtree(far.target)
        else:
            far.target.unlink()
        shutil.rmtree(far.cache, ignore_errors=True)
