"""Our puller and Debian's `casync pull`, over pipes, without a shell or ssh in between."""

from __future__ import annotations

import random
import subprocess
from typing import TYPE_CHECKING

import pytest

from casync_py.digest import SHA512_256
from casync_py.errors import ChunkMissing, PeerError
from casync_py.format.index import Index
from casync_py.peer.puller import Puller
from casync_py.protocol import Connection, Role
from casync_py.protocol import flags as f
from casync_py.store.verify import Verified
from casync_py.testing.store_contract import absent
from casync_py.transport.pipe import ChildStream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.peer("casync")


@pytest.fixture(scope="module")
def blob(tmp_path_factory: pytest.TempPathFactory, casync: str) -> Path:
    """Half of it is there twice, so that chunks repeat far apart."""
    folder = tmp_path_factory.mktemp("blob")
    part = random.Random(1).randbytes(2_000_000)
    path = folder / "blob"
    path.write_bytes(part + random.Random(2).randbytes(1_000_000) + part)
    subprocess.run([casync, "make", f"--store={folder}/s.castr", f"{folder}/x.caibx", path], check=True)
    return path


@pytest.fixture
def pull(casync: str) -> Iterator[Callable[..., Puller]]:
    pullers: list[Puller] = []

    def start(*arguments: str | Path, flags: int, sessions: list[int] | None = None) -> Puller:
        def connect() -> tuple[ChildStream, Connection]:
            if sessions is not None:
                sessions.append(len(sessions))
            stream = ChildStream([casync, "pull", "-", *map(str, arguments)], None, "casync")
            return stream, Connection(Role.PULL_CLIENT, flags, ours=True)

        pullers.append(Puller(connect, timeout=20))
        return pullers[-1]

    yield start
    for puller in pullers:
        puller.close()


@pytest.mark.parametrize("kept", [0, 32 << 20], ids=["nothing kept", "kept"])
def test_index_and_chunks(blob: Path, pull: Callable[..., Puller], kept: int) -> None:
    folder = blob.parent
    sessions: list[int] = []
    flags = f.PULL_INDEX | f.PULL_CHUNKS
    puller = pull("-", folder / "x.caibx", folder / "s.castr", flags=flags, sessions=sessions)
    assert puller.peer_flags == f.READABLE_STORE | f.READABLE_INDEX
    assert not puller.dialect
    puller._exchange.wanted.kept_limit = kept
    with puller.index("x") as index, Index.open(folder / "x.caibx") as same:
        assert list(index) == list(same)
        store = Verified(puller.store("s"), [SHA512_256], index.chunk_max)
        ids = index.ids()
    found = store.get_many(ids, 2 << 20)
    content = b"".join(bytes(chunk.plain()) for _, chunk in found if not isinstance(chunk, ChunkMissing))
    assert content == blob.read_bytes()
    assert len(sessions) == (1 if kept else 2)
    with pytest.raises(ChunkMissing):
        store.get(absent())
    assert store.has_many([ids[3], absent()]) == [True, False]


def test_an_archive(blob: Path, pull: Callable[..., Puller]) -> None:
    archive = pull(blob, "-", "-", flags=f.PULL_ARCHIVE).archive("blob")
    first = bytes(archive.read())
    archive.skip(100_000)
    rest = b"".join(iter(lambda: bytes(archive.read()), b""))
    content = blob.read_bytes()
    assert first + rest == content[: len(first)] + content[len(first) + 100_000 :]


def test_an_index_that_is_not_there(blob: Path, pull: Callable[..., Puller]) -> None:
    puller = pull("-", blob.parent / "absent.caibx", "-", flags=f.PULL_INDEX)
    with pytest.raises(PeerError, match=r"^casync: The other end ended early, .*\(exit status 1\)$"):
        puller.index("x")
