"""Any sequence of operations on a store has the effects that it would have on a dict."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from casync_py.compression import parse_compression
from casync_py.errors import ChunkMissing
from casync_py.options import StoreOptions
from casync_py.store.chunk import Chunk
from casync_py.store.local import LocalStore
from casync_py.store.memory import MemoryStore
from casync_py.testing.castr import store_faults
from casync_py.testing.store_contract import plain_of, sample

if TYPE_CHECKING:
    from casync_py.ids import ChunkId
    from casync_py.store.base import PrunableStore

CHUNKS = [sample(number, 1 + 300 * number) for number in range(8)]
NUMBERS = st.integers(0, len(CHUNKS) - 1)
MANY = st.lists(NUMBERS, max_size=12)


class MemoryMachine(RuleBasedStateMachine):
    """The model: chunks that are there (`now`) and, of those, the ones that outlive the object (`flushed`)."""

    def __init__(self) -> None:
        super().__init__()
        self.now: dict[ChunkId, bytes] = {}
        self.flushed: dict[ChunkId, bytes] = {}
        self.store: PrunableStore = self.open()

    def open(self) -> PrunableStore:
        return MemoryStore()

    def teardown(self) -> None:
        self.store.close()

    @rule(number=NUMBERS)
    def put(self, number: int) -> None:
        chunk = CHUNKS[number]
        plain = bytes(chunk.plain())
        assert self.store.put(Chunk(chunk.chunk_id, plain=plain)) is (chunk.chunk_id not in self.now)
        self.now[chunk.chunk_id] = plain

    @rule(number=NUMBERS)
    def get(self, number: int) -> None:
        chunk_id = CHUNKS[number].chunk_id
        try:
            found = bytes(self.store.get(chunk_id).plain())
        except ChunkMissing:
            assert chunk_id not in self.now
        else:
            assert found == self.now[chunk_id]

    @rule(numbers=MANY, budget=st.sampled_from([1, 2000, 1 << 20]))
    def get_many(self, numbers: list[int], budget: int) -> None:
        ids = [CHUNKS[number].chunk_id for number in numbers]
        found = [(chunk_id, plain_of(chunk)) for chunk_id, chunk in self.store.get_many(ids, budget)]
        assert found == [(chunk_id, self.now.get(chunk_id)) for chunk_id in ids]

    @rule(numbers=MANY, recognise=st.booleans())
    def has_many(self, numbers: list[int], recognise: bool) -> None:
        ids = [CHUNKS[number].chunk_id for number in numbers]
        ask = self.store.recognise if recognise else self.store.has_many
        assert ask(ids) == [chunk_id in self.now for chunk_id in ids]

    @rule(number=NUMBERS)
    def remove(self, number: int) -> None:
        chunk_id = CHUNKS[number].chunk_id
        assert (self.store.remove(chunk_id) > 0) is (chunk_id in self.now)
        self.now.pop(chunk_id, None)
        self.flushed.pop(chunk_id, None)

    @rule()
    def flush(self) -> None:
        self.store.flush()
        self.flushed = dict(self.now)

    @rule()
    def list_ids(self) -> None:
        listed = list(self.store.iter_ids())
        assert len(listed) == len(set(listed))
        assert self.flushed.keys() <= set(listed) <= self.now.keys()


class LocalMachine(MemoryMachine):
    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.reopened = 0
        super().__init__()

    def open(self) -> PrunableStore:
        self.reopened += 1
        compression = parse_compression(("default", "none", "gzip")[self.reopened % 3])
        return LocalStore(self.folder / "s.castr", StoreOptions(compression=compression), create=True)

    @rule()
    def reopen(self) -> None:
        """With another compression each time, so that the forms are mixed."""
        self.store.close()
        self.now = dict(self.flushed)
        self.store = self.open()

    @invariant()
    def verifies_clean(self) -> None:
        assert not (self.folder / "s.castr").exists() or store_faults(self.folder / "s.castr") == []

    def teardown(self) -> None:
        super().teardown()
        shutil.rmtree(self.folder)


@pytest.mark.parametrize("machine", [MemoryMachine, LocalMachine])
def test_store_against_a_dict(machine: type[MemoryMachine]) -> None:
    machine.TestCase.settings = settings(
        max_examples=25, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
    machine.TestCase("runTest").debug()
