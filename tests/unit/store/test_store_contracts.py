"""Every store of this package keeps the contract."""

from __future__ import annotations

from typing import TYPE_CHECKING

from casync_py.compression import parse_compression
from casync_py.digest import SHA512_256
from casync_py.options import StoreOptions
from casync_py.store.base import PrunableStore, WritableStore
from casync_py.store.local import LocalStore
from casync_py.store.memory import MemoryStore
from casync_py.store.router import RouterStore
from casync_py.store.verify import Verified
from casync_py.testing.recording import RecordingStore
from casync_py.testing.store_contract import PrunableStoreContract, StoreContract

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from casync_py.store.base import Store
    from casync_py.store.chunk import Chunk


class TestMemoryStore(PrunableStoreContract):
    def build_empty(self, tmp_path: Path) -> MemoryStore:
        return MemoryStore()


class TestRecordingStore(PrunableStoreContract):
    def build_empty(self, tmp_path: Path) -> RecordingStore:
        return RecordingStore(MemoryStore())


class TestLocalStore(PrunableStoreContract):
    options = StoreOptions()

    def build_empty(self, tmp_path: Path) -> LocalStore:
        return LocalStore(tmp_path / "store.castr", self.options, create=True)

    def reopen(self, store: WritableStore, tmp_path: Path) -> LocalStore:
        store.close()
        return LocalStore(tmp_path / "store.castr", self.options)


class TestLocalStorePlain(TestLocalStore):
    options = StoreOptions(compression=parse_compression("none"))


class TestLocalStoreXz(TestLocalStore):
    options = StoreOptions(compression=parse_compression("xz:0"), compressed_suffix=".xz")


class TestVerified(StoreContract):
    def build(self, tmp_path: Path, chunks: Sequence[Chunk]) -> Verified:
        return Verified(_memory(chunks), [SHA512_256], jobs=3)


class TestRouter(StoreContract):
    """The chunks are spread over two stores, and the third has all but the first."""

    def build(self, tmp_path: Path, chunks: Sequence[Chunk]) -> RouterStore:
        stores = [_memory(chunks[::2]), _memory(chunks[1::2]), _memory(chunks[1:])]
        return RouterStore([Verified(store, [SHA512_256]) for store in stores])


def _memory(chunks: Sequence[Chunk]) -> MemoryStore:
    store = MemoryStore()
    for chunk in chunks:
        store.put(chunk)
    return store


def test_capabilities_can_be_asked_for() -> None:
    store: Store = RouterStore([])
    assert not isinstance(store, WritableStore)
    assert isinstance(MemoryStore(), PrunableStore)
    assert not isinstance(Verified(MemoryStore(), [SHA512_256]), WritableStore)
