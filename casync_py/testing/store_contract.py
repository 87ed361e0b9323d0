"""What every store promises, as tests: inherit from the class of your store's capability and say how one is made.

    class TestMyStore(WritableStoreContract):
        def build_empty(self, tmp_path):
            return MyStore(tmp_path / "store")

Needs pytest. Every test makes its own store and closes it.
"""

from __future__ import annotations

import hashlib
import random
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from casync_py.compression import COMPRESSORS
from casync_py.digest import SHA512_256
from casync_py.errors import ChunkMissing
from casync_py.ids import ChunkId
from casync_py.store.chunk import Chunk

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from casync_py.store.base import PrunableStore, Store, WritableStore


def sample(number: int, size: int = 3000) -> Chunk:
    """A chunk that depends on `number` alone; half of it compresses."""
    plain = random.Random(number).randbytes(size // 2) + bytes(size - size // 2)  # noqa: S311 - no secret
    return Chunk(ChunkId(SHA512_256.of(plain)), plain=plain)


def absent(number: int = 0) -> ChunkId:
    """The id of a chunk that no test puts."""
    return ChunkId(hashlib.sha256(b"absent %d" % number).digest())


def plain_of(found: Chunk | ChunkMissing) -> bytes | None:
    """The content that a stream delivered; None for a missing chunk."""
    return None if isinstance(found, ChunkMissing) else bytes(found.plain())


class StoreContract:
    """What can be read."""

    def build(self, tmp_path: Path, chunks: Sequence[Chunk]) -> Store:
        """Make a store that has these chunks and no others."""
        raise NotImplementedError

    @pytest.fixture
    def samples(self) -> list[Chunk]:
        return [sample(number, 1000 + 700 * number) for number in range(12)]

    @pytest.fixture
    def filled(self, tmp_path: Path, samples: list[Chunk]) -> Iterator[Store]:
        store = self.build(tmp_path, samples)
        yield store
        store.close()

    def test_get_returns_what_was_stored(self, filled: Store, samples: list[Chunk]) -> None:
        for chunk in samples:
            found = filled.get(chunk.chunk_id)
            assert found.chunk_id == chunk.chunk_id
            assert bytes(found.plain()) == chunk.plain()

    def test_get_of_an_absent_chunk_names_it(self, filled: Store) -> None:
        with pytest.raises(ChunkMissing) as caught:
            filled.get(absent())
        assert caught.value.chunk_id == absent()
        assert absent().hex() in str(caught.value)

    def test_get_accepts_the_largest_size_that_fits(self, filled: Store, samples: list[Chunk]) -> None:
        plain = samples[3].plain()
        assert bytes(filled.get(samples[3].chunk_id, len(plain)).plain()) == plain

    def test_it_has_a_name_for_messages(self, filled: Store) -> None:
        assert filled.name

    def test_has_many_answers_in_order(self, filled: Store, samples: list[Chunk]) -> None:
        ids = [samples[0].chunk_id, absent(), samples[1].chunk_id, samples[0].chunk_id]
        assert filled.has_many(ids) == [True, False, True, True]
        assert filled.has_many([]) == []

    def test_get_many_keeps_order_and_duplicates(self, filled: Store, samples: list[Chunk]) -> None:
        chunks = [*samples, *reversed(samples), samples[4], samples[4]]
        found = list(filled.get_many([chunk.chunk_id for chunk in chunks]))
        assert [chunk_id for chunk_id, _ in found] == [chunk.chunk_id for chunk in chunks]
        assert [plain_of(chunk) for _, chunk in found] == [chunk.plain() for chunk in chunks]

    def test_get_many_delivers_a_missing_chunk_as_a_value(self, filled: Store, samples: list[Chunk]) -> None:
        ids = [samples[0].chunk_id, absent(), samples[1].chunk_id, absent(1)]
        found = list(filled.get_many(ids))
        assert [chunk_id for chunk_id, _ in found] == ids
        assert [plain_of(chunk) for _, chunk in found] == [samples[0].plain(), None, samples[1].plain(), None]
        missing = found[1][1]
        assert isinstance(missing, ChunkMissing)
        assert missing.chunk_id == absent()

    def test_get_many_of_nothing(self, filled: Store) -> None:
        assert list(filled.get_many([])) == []

    def test_get_many_fetches_at_least_one_chunk(self, filled: Store, samples: list[Chunk]) -> None:
        found = filled.get_many([chunk.chunk_id for chunk in samples], budget=1)
        assert [plain_of(chunk) for _, chunk in found] == [chunk.plain() for chunk in samples]

    def test_get_many_can_be_closed_early_and_twice(self, filled: Store, samples: list[Chunk]) -> None:
        stream = filled.get_many([chunk.chunk_id for chunk in samples] * 20)
        assert plain_of(next(stream)[1]) == samples[0].plain()
        stream.close()
        stream.close()
        with pytest.raises(StopIteration):
            next(stream)
        filled.get_many([samples[0].chunk_id]).close()
        assert bytes(filled.get(samples[0].chunk_id).plain()) == samples[0].plain()

    def test_many_threads_read_at_once(self, filled: Store, samples: list[Chunk]) -> None:
        def read(seed: int) -> bool:
            order = random.Random(seed).sample(samples, len(samples))  # noqa: S311 - no secret
            found = filled.get_many([chunk.chunk_id for chunk in order])
            return [plain_of(chunk) for _, chunk in found] == [chunk.plain() for chunk in order]

        with ThreadPoolExecutor(4) as pool:
            assert all(pool.map(read, range(8)))

    def test_close_twice_is_fine(self, tmp_path: Path) -> None:
        store = self.build(tmp_path, [sample(1)])
        store.close()
        store.close()


class WritableStoreContract(StoreContract):
    """What can be added to."""

    def build_empty(self, tmp_path: Path) -> WritableStore:
        """Make a store without chunks."""
        raise NotImplementedError

    def reopen(self, store: WritableStore, tmp_path: Path) -> WritableStore | None:  # noqa: ARG002
        """Close the store and open what it kept again; None where nothing is kept."""
        return None

    def build(self, tmp_path: Path, chunks: Sequence[Chunk]) -> Store:
        store = self.build_empty(tmp_path)
        for chunk in chunks:
            store.put(chunk)
        store.flush()
        return store

    @pytest.fixture
    def empty(self, tmp_path: Path) -> Iterator[WritableStore]:
        store = self.build_empty(tmp_path)
        yield store
        store.close()

    def test_an_empty_store_has_nothing(self, empty: WritableStore) -> None:
        assert empty.has_many([absent()]) == [False]
        assert empty.recognise([absent()]) == [False]
        with pytest.raises(ChunkMissing):
            empty.get(absent())
        empty.flush()

    def test_put_tells_whether_it_was_new(self, empty: WritableStore) -> None:
        assert empty.put(sample(1)) is True
        assert empty.put(sample(1)) is False
        empty.flush()
        assert empty.put(sample(1)) is False
        assert empty.put(sample(2)) is True

    def test_what_was_put_is_there_before_the_flush(self, empty: WritableStore) -> None:
        chunk = sample(1)
        empty.put(chunk)
        assert empty.has_many([chunk.chunk_id, absent()]) == [True, False]
        assert empty.recognise([chunk.chunk_id, absent()]) == [True, False]
        assert bytes(empty.get(chunk.chunk_id).plain()) == chunk.plain()

    def test_recognise_answers_in_order(self, empty: WritableStore) -> None:
        for number in (1, 2):
            empty.put(sample(number))
        empty.flush()
        ids = [sample(2).chunk_id, absent(), sample(1).chunk_id, sample(2).chunk_id]
        assert empty.recognise(ids) == [True, False, True, True]
        assert empty.recognise([]) == []

    def test_a_buffer_may_be_reused_after_put(self, empty: WritableStore) -> None:
        chunk = sample(1)
        buffer = bytearray(chunk.plain())
        empty.put(Chunk(chunk.chunk_id, plain=memoryview(buffer)))
        buffer[:] = bytes(len(buffer))
        empty.flush()
        assert bytes(empty.get(chunk.chunk_id).plain()) == chunk.plain()

    @pytest.mark.parametrize("name", sorted(COMPRESSORS))
    def test_a_stored_form_of_any_format_is_accepted(self, empty: WritableStore, name: str) -> None:
        chunk = sample(1)
        empty.put(Chunk(chunk.chunk_id, stored=COMPRESSORS[name].compress(chunk.plain(), None)))
        empty.flush()
        assert bytes(empty.get(chunk.chunk_id).plain()) == chunk.plain()

    @pytest.mark.parametrize("size", [1, 1 << 20])
    def test_sizes(self, empty: WritableStore, size: int) -> None:
        chunk = sample(1, size)
        assert empty.put(chunk) is True
        empty.flush()
        assert bytes(empty.get(chunk.chunk_id).plain()) == chunk.plain()

    def test_many_threads_put_the_same_chunks(self, empty: WritableStore) -> None:
        chunks = [sample(number, 200) for number in range(40)]

        def put_all(seed: int) -> int:
            order = random.Random(seed).sample(chunks, len(chunks))  # noqa: S311 - no secret
            return sum(empty.put(Chunk(chunk.chunk_id, plain=chunk.plain())) for chunk in order)

        with ThreadPoolExecutor(4) as pool:
            assert sum(pool.map(put_all, range(4))) == len(chunks)
        empty.flush()
        assert [plain_of(found) for _, found in empty.get_many([chunk.chunk_id for chunk in chunks])] == [
            chunk.plain() for chunk in chunks
        ]

    def test_what_was_flushed_outlives_the_object(self, empty: WritableStore, tmp_path: Path) -> None:
        chunks = [sample(number) for number in range(5)]
        for chunk in chunks:
            empty.put(chunk)
        empty.flush()
        again = self.reopen(empty, tmp_path)
        if again is None:
            return
        try:
            assert again.has_many([chunk.chunk_id for chunk in chunks]) == [True] * 5
            assert [bytes(again.get(chunk.chunk_id).plain()) for chunk in chunks] == [chunk.plain() for chunk in chunks]
            assert again.put(chunks[0]) is False
        finally:
            again.close()


class PrunableStoreContract(WritableStoreContract):
    """What can be listed and removed from."""

    def build_empty(self, tmp_path: Path) -> PrunableStore:
        raise NotImplementedError

    @pytest.fixture
    def prunable(self, tmp_path: Path) -> Iterator[PrunableStore]:
        store = self.build_empty(tmp_path)
        yield store
        store.close()

    def test_iter_ids_lists_each_chunk_once(self, prunable: PrunableStore, samples: list[Chunk]) -> None:
        assert list(prunable.iter_ids()) == []
        for chunk in [*samples, samples[0]]:
            prunable.put(chunk)
        prunable.flush()
        ids = list(prunable.iter_ids())
        assert sorted(ids) == sorted(chunk.chunk_id for chunk in samples)
        assert all(isinstance(chunk_id, ChunkId) for chunk_id in ids)

    def test_removed_is_gone_and_can_be_put_again(self, prunable: PrunableStore) -> None:
        for number in (1, 2):
            prunable.put(sample(number))
        prunable.flush()
        chunk = sample(1)
        assert prunable.remove(chunk.chunk_id) > 0
        assert prunable.has_many([chunk.chunk_id, sample(2).chunk_id]) == [False, True]
        with pytest.raises(ChunkMissing):
            prunable.get(chunk.chunk_id)
        assert list(prunable.iter_ids()) == [sample(2).chunk_id]
        assert prunable.put(chunk) is True
        prunable.flush()
        assert bytes(prunable.get(chunk.chunk_id).plain()) == chunk.plain()

    def test_remove_of_what_is_absent_frees_nothing(self, prunable: PrunableStore) -> None:
        assert prunable.remove(absent()) == 0
        prunable.put(sample(1))
        prunable.flush()
        assert prunable.remove(absent()) == 0
        assert prunable.has_many([sample(1).chunk_id]) == [True]

    def test_removed_before_the_flush_does_not_come_back(self, prunable: PrunableStore) -> None:
        prunable.put(sample(1))
        assert prunable.remove(sample(1).chunk_id) > 0
        prunable.flush()
        assert prunable.has_many([sample(1).chunk_id]) == [False]
        assert list(prunable.iter_ids()) == []

    def test_chunks_may_be_removed_while_they_are_listed(self, prunable: PrunableStore, samples: list[Chunk]) -> None:
        for chunk in samples:
            prunable.put(chunk)
        prunable.flush()
        for chunk_id in prunable.iter_ids():
            prunable.remove(chunk_id)
        assert list(prunable.iter_ids()) == []
