"""A store with a size limit: what goes, what stays, and who is spared."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from casync_py.compression import MAX_CHUNK_SIZE, Compression
from casync_py.digest import SHA512_256
from casync_py.errors import ChunkMissing
from casync_py.monitor import Monitor
from casync_py.options import StoreOptions
from casync_py.store import usage
from casync_py.store.cache import CacheStore
from casync_py.store.chunk import Chunk
from casync_py.store.limited import LimitedStore
from casync_py.store.local import LocalStore
from casync_py.store.usage import measure
from casync_py.testing.castr import store_faults
from casync_py.testing.store_contract import PrunableStoreContract, sample

PLAIN = StoreOptions(Compression(None))
SIZE = 1000
CHUNKS = [sample(number, SIZE) for number in range(40)]
IDS = [chunk.chunk_id for chunk in CHUNKS]


class TestLimitedStore(PrunableStoreContract):
    def build_empty(self, tmp_path: Path) -> LimitedStore:
        return limited(tmp_path / "cache", 1 << 30)

    def reopen(self, store: object, tmp_path: Path) -> LimitedStore:
        assert isinstance(store, LimitedStore)
        store.close()
        return limited(tmp_path / "cache", 1 << 30)


class Clock:
    """Nanoseconds; each look is a second later."""

    def __init__(self) -> None:
        self.now = 10**18

    def __call__(self) -> int:
        self.now += 10**9
        return self.now


def limited(folder: Path, limit: int, clock: Clock | None = None) -> LimitedStore:
    local = LocalStore(folder, PLAIN, create=True, kept=True)
    return LimitedStore(local, limit) if clock is None else LimitedStore(local, limit, clock=clock)


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in files(folder))


def there(folder: Path) -> set[int]:
    return {at for at, chunk_id in enumerate(IDS) if (folder / chunk_id.store_path()).exists()}


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    store = limited(tmp_path / "c", 10 * SIZE, Clock())
    for chunk in CHUNKS[:10]:
        store.put(chunk)
    for at in (0, 3):
        store.get(IDS[at])
    assert store.has_many([IDS[1]]) == [True]
    store.put(CHUNKS[10])
    assert there(tmp_path / "c") == {0, 1, 3, *range(6, 11)}  # an eighth is freed with what is too much
    store.put(CHUNKS[11])
    store.put(CHUNKS[12])
    store.close()
    assert there(tmp_path / "c") == {0, 1, 3, *range(6, 13)}
    assert store_faults(tmp_path / "c") == []


def test_uses_are_known_to_the_next_who_opens_it(tmp_path: Path) -> None:
    clock = Clock()
    store = limited(tmp_path / "c", 100 * SIZE, clock)
    for chunk in CHUNKS[:10]:
        store.put(chunk)
    store.close()
    store = limited(tmp_path / "c", 100 * SIZE, clock)
    for at in (2, 5):
        store.get(IDS[at])
    store.close()
    store = limited(tmp_path / "c", 4 * SIZE, clock)
    store.put(CHUNKS[20])
    store.close()
    assert there(tmp_path / "c") == {2, 5, 20}


@pytest.mark.parametrize("limit", [1, 5 * SIZE, 20 * SIZE, 1 << 40])
def test_it_keeps_within_its_limit_all_the_time(tmp_path: Path, limit: int) -> None:
    store = limited(tmp_path / "c", limit)
    for chunk in CHUNKS:
        store.put(chunk)
        assert size_of(tmp_path / "c") <= max(limit, SIZE)
    store.close()
    assert size_of(tmp_path / "c") <= limit
    if limit >= 5 * SIZE:
        assert size_of(tmp_path / "c") >= min(len(CHUNKS) * SIZE, limit * 6 // 10)
    assert store_faults(tmp_path / "c") == []


def test_a_process_that_puts_little_still_leaves_no_more_than_the_limit(tmp_path: Path) -> None:
    for chunk in CHUNKS:
        store = limited(tmp_path / "c", 10 * SIZE)
        store.put(chunk)
        store.close()
        assert size_of(tmp_path / "c") <= 10 * SIZE
    assert 39 in there(tmp_path / "c")


def test_what_belongs_to_others_neither_counts_nor_goes(tmp_path: Path) -> None:
    with LocalStore(tmp_path / "c", PLAIN, create=True) as own:
        for chunk in CHUNKS[:20]:
            own.put(chunk)
        own.flush()
    store = limited(tmp_path / "c", 5 * SIZE)
    for chunk in CHUNKS:
        store.put(chunk)
    assert there(tmp_path / "c") >= {*range(20)}
    with LocalStore(tmp_path / "c", PLAIN) as writer:
        assert writer.recognise([IDS[39]]) == [True]  # kept so far, and his from now on
    for chunk in CHUNKS[20:39]:
        store.put(chunk)
    store.close()
    assert there(tmp_path / "c") >= {*range(20), 39}
    assert 3 <= len(there(tmp_path / "c")) - 21 <= 5


def test_what_is_pinned_stays_and_is_read_while_everything_else_goes(tmp_path: Path) -> None:
    store = limited(tmp_path / "c", 3 * SIZE)
    pinned = IDS[:6]
    with store.pinned(pinned), store.pinned(IDS[:2]):
        for chunk in CHUNKS:
            store.put(chunk)
        assert store.has_many(pinned) == [True] * 6
    store.put(sample(100, SIZE))
    assert size_of(tmp_path / "c") <= 3 * SIZE
    store.close()


def test_a_file_that_was_opened_stays_readable(tmp_path: Path) -> None:
    store = limited(tmp_path / "c", 2 * SIZE)
    store.put(CHUNKS[0])
    fd, size, compressed = store.open_chunk(IDS[0])
    for chunk in CHUNKS[1:]:
        store.put(chunk)
    with pytest.raises(ChunkMissing):
        store.get(IDS[0])
    assert (os.read(fd, size + 1), compressed) == (CHUNKS[0].plain(), False)
    os.close(fd)
    store.close()


def test_temporaries_count_and_old_ones_go(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    dead = LocalStore(folder, PLAIN, create=True, kept=True)
    for chunk in CHUNKS[:6]:
        dead.put(chunk)
    old = files(folder)[:3]
    for path in old:
        os.utime(path, (1e9, 1e9))
    store = limited(folder, 6 * SIZE)
    store.put(CHUNKS[10])
    store.close()
    assert [path.exists() for path in old] == [False] * 3
    assert size_of(folder) == 4 * SIZE - (0 if 10 in there(folder) else SIZE)
    dead.close()


def test_a_sample_is_as_good_as_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = limited(tmp_path / "c", 1 << 40)
    for number in range(1500):
        store.put(sample(number, 100))
    store.flush()
    root = os.open(tmp_path / "c", os.O_RDONLY)
    try:
        whole = measure(root, ".cacnk")
        assert (whole.size, len(whole.chunks), whole.share) == (150_000, 1500, 1.0)
        monkeypatch.setattr(usage, "SAMPLE_DIRECTORIES", 400)
        monkeypatch.setattr(usage, "SAMPLE_CHUNKS", 400)
        part = measure(root, ".cacnk")
        assert 400 <= len(part.chunks) < 500
        assert abs(part.size - 150_000) < 15_000
        for fraction in (0.1, 0.5, 0.9):
            going = sum(used <= part.oldest(int(150_000 * fraction)) for used, _ in whole.chunks)
            assert abs(going / 1500 - fraction) < 0.12
    finally:
        os.close(root)
        store.close()


def test_a_store_cache_with_a_limit(tmp_path: Path) -> None:
    cache = CacheStore(limited(tmp_path / "c", 5 * SIZE), [SHA512_256], MAX_CHUNK_SIZE, Monitor(), jobs=2)
    for chunk in CHUNKS:
        cache.keep(chunk)
    cache.close()
    assert size_of(tmp_path / "c") <= 5 * SIZE


def test_processes_share_a_directory(tmp_path: Path) -> None:
    """Each with a store of its own, as processes have; nothing fails, and the limit holds but for their shares."""
    folder = tmp_path / "c"

    def work(seed: int) -> None:
        chance = random.Random(seed)
        store = limited(folder, 16 * SIZE)
        for _ in range(100):
            chunk = chance.choice(CHUNKS)
            store.put(Chunk(chunk.chunk_id, plain=chunk.plain()))
            with_it = chance.choice(CHUNKS)
            with suppress(ChunkMissing):
                assert bytes(store.get(with_it.chunk_id).plain()) == with_it.plain()
        store.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert store_faults(folder) == []
    assert size_of(folder) <= 16 * SIZE


NUMBERS = st.integers(0, len(CHUNKS) - 1)


class LimitMachine(RuleBasedStateMachine):
    """The model: which chunks may be there, each with its size and its place in the order of use."""

    LIMIT = 12_000

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.clock = Clock()
        self.store = limited(self.folder / "c", self.LIMIT, self.clock)
        self.used: dict[int, int] = {}  # number -> when
        self.pins: list[int] = []
        self.order = 0

    def use(self, number: int) -> None:
        self.order += 1
        self.used[number] = self.order

    def look(self) -> None:
        """What went must have been used before everything that stayed, unless that is pinned."""
        ids = [IDS[number] for number in self.used]
        local = LocalStore(self.folder / "c", PLAIN, create=True)
        here = {path.name[:64] for path in files(self.folder)}
        local.close()
        gone = [number for number, chunk_id in zip(self.used, ids, strict=True) if chunk_id.hex() not in here]
        assert not set(gone) & set(self.pins)
        stayed = [when for number, when in self.used.items() if number not in gone and number not in self.pins]
        if gone and stayed:
            assert max(self.used[number] for number in gone) < min(stayed)
        for number in gone:
            del self.used[number]

    @rule(number=NUMBERS, size=st.sampled_from([1, 300, 1000, 5000]))
    def put(self, number: int, size: int) -> None:
        chunk = CHUNKS[number]
        # Content does not matter to a store, only its size
        new = self.store.put(Chunk(chunk.chunk_id, plain=bytes(size)))
        assert new is (number not in self.used)
        self.use(number)
        self.look()

    @rule(number=NUMBERS)
    def get(self, number: int) -> None:
        try:
            self.store.get(IDS[number])
        except ChunkMissing:
            assert number not in self.used
        else:
            self.use(number)

    @rule(number=NUMBERS)
    def has(self, number: int) -> None:
        if self.store.has_many([IDS[number]])[0]:
            self.use(number)
        else:
            assert number not in self.used

    @rule(number=NUMBERS)
    def pin(self, number: int) -> None:
        if number in self.used:
            self.store.pin([IDS[number]])
            self.pins.append(number)

    @rule()
    def unpin(self) -> None:
        if self.pins:
            self.store.unpin([IDS[self.pins.pop()]])

    @rule()
    def reopen(self) -> None:
        if not self.pins:
            self.store.flush()
            self.store.close()
            self.look()
            self.store = limited(self.folder / "c", self.LIMIT, self.clock)

    @invariant()
    def is_within_the_limit(self) -> None:
        pinned = 5000 * len(set(self.pins))
        assert size_of(self.folder) <= self.LIMIT + pinned

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.folder)


def test_the_order_of_going_against_a_model() -> None:
    LimitMachine.TestCase.settings = settings(
        max_examples=20, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
    LimitMachine.TestCase("runTest").debug()
