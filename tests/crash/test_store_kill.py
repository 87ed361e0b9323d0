"""A writer killed with SIGKILL at random instants: whole chunks under final names, and all of those called durable.

A few tries by default; CASYNC_PY_SOAK=200 for the soak. CASYNC_PY_SOAK_SEED repeats the same instants.
"""

from __future__ import annotations

import os
import random
import secrets
import subprocess
import sys
from typing import TYPE_CHECKING

from casync_py.store.local import LocalStore
from casync_py.testing.castr import store_faults
from casync_py.testing.store_contract import sample

if TYPE_CHECKING:
    from pathlib import Path

TRIES = int(os.environ.get("CASYNC_PY_SOAK", "8"))
SEED = int(os.environ.get("CASYNC_PY_SOAK_SEED", secrets.randbits(32)))

# Puts chunks in two threads; prints after each flush how many are durable. Small batches are renamed often.
WRITER = """
import sys
from concurrent.futures import ThreadPoolExecutor
from casync_py.store import batch
from casync_py.store.local import LocalStore
from casync_py.testing.store_contract import sample
batch.BATCH_CHUNKS = 7
step = int(sys.argv[2])
with ThreadPoolExecutor(2) as pool:
    store = LocalStore(sys.argv[1], create=True)
    print(0, flush=True)
    for start in range(0, 100_000, step):
        list(pool.map(lambda number: store.put(sample(number, 5000)), range(start, start + step)))
        store.flush()
        print(start + step, flush=True)
"""


def run_until_killed(path: Path, chance: random.Random) -> int:
    """Start a writer, kill it after it reported a number of times and wrote a little more; what it last reported."""
    step = chance.choice([1, 5, 20, 60])
    reports = chance.randrange(1, 1 + 120 // step)
    writer = subprocess.Popen([sys.executable, "-c", WRITER, path, str(step)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    with writer, writer.stdout as reported:
        lines = [reported.readline() for _ in range(reports)]
        for _ in range(chance.randrange(20_000)):  # an instant that is no multiple of anything
            pass
        writer.kill()
        lines += reported.readlines()
    assert lines[0] == "0\n", "The writer did not start"
    return int([line for line in lines if line.endswith("\n")][-1])


def test_killed_at_random_instants(tmp_path: Path) -> None:
    """Each try meets what the ones before left; every fourth begins anew."""
    print(f"CASYNC_PY_SOAK_SEED={SEED}")
    chance = random.Random(SEED)
    for attempt in range(TRIES):
        path = tmp_path / f"{attempt // 4}.castr"
        durable = run_until_killed(path, chance)
        print(f"Try {attempt}: {durable} durable")
        if not path.exists():
            assert durable == 0
            continue
        assert store_faults(path) == []
        ids = [sample(number, 5000).chunk_id for number in range(durable)]
        with LocalStore(path) as store:
            assert store.has_many(ids) == [True] * durable
            assert set(ids) <= set(store.iter_ids())
