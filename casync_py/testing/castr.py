"""Verify a store's directory and an index from their bytes alone: nothing here is shared with what wrote them."""

from __future__ import annotations

import os
import re
import struct
from pathlib import Path
from typing import TYPE_CHECKING

from casync_py.compression import MAX_CHUNK_SIZE, detect
from casync_py.digest import DEFAULT_DIGEST
from casync_py.errors import FormatError

if TYPE_CHECKING:
    from casync_py.digest import Digest

_CHUNK_NAME = re.compile(r"([0-9a-f]{64})(\.cacnk)?")
_TEMPORARY_NAME = re.compile(r"[0-9a-f]{64}\.[0-9a-f]+\.tmp")  # casync castore.c, ca_store_put
_ROW = struct.Struct("<Q32s")
_HEADER_SIZE, _TAIL_SIZE = 64, 40  # casync caformat.h: CaFormatIndex and the table's header, CaFormatTableTail


def store_faults(store: str | Path, digest: Digest = DEFAULT_DIGEST) -> list[str]:
    """What is wrong in a castr directory: a line for each fault, none for a store that verifies clean.

    Every file under a chunk's final name has to be in the right directory and to hold the content that its name
    promises; besides chunks and temporary files nothing may be there.
    """
    faults: list[str] = []
    for directory in sorted(Path(store).iterdir()):
        if not re.fullmatch(r"[0-9a-f]{4}", directory.name) or not directory.is_dir():
            faults.append(f"{directory} does not belong in a store's root")
            continue
        for file in sorted(directory.iterdir()):
            name = _CHUNK_NAME.fullmatch(file.name)
            if name and name[1].startswith(directory.name):
                fault = _chunk_fault(file, name[1], compressed=name[2] is not None, digest=digest)
                faults += [f"{file} {fault}"] if fault else []
            elif not _TEMPORARY_NAME.fullmatch(file.name):
                faults.append(f"{file} does not belong in a store")
    return faults


def _chunk_fault(file: Path, promised: str, *, compressed: bool, digest: Digest) -> str:
    data = file.read_bytes()
    if compressed:
        compressor = detect(data)
        if compressor is None:
            return "is no compressed stream"
        try:
            data = compressor.decompress(data, MAX_CHUNK_SIZE)
        except FormatError as error:
            return f"cannot be decompressed: {error}"
    actual = digest.of(data).hex()
    return "" if actual == promised else f"holds the content of {actual}"


def index_rows(index: str | Path) -> list[tuple[int, str]]:
    """The rows of an index: end offset, chunk id as hex.

    Raises:
        ValueError: the file is no complete index.
    """
    data = Path(index).read_bytes()
    rows, tail = data[_HEADER_SIZE:-_TAIL_SIZE], data[-_TAIL_SIZE:]
    if (
        len(data) < _HEADER_SIZE + _TAIL_SIZE
        or len(rows) % _ROW.size
        or tail[16:32] != struct.pack("<QQ", 48, 16 + len(rows) + _TAIL_SIZE)
    ):
        raise ValueError(f"{index} is no complete index")
    return [(end, chunk_id.hex()) for end, chunk_id in _ROW.iter_unpack(rows)]


def index_ids(index: str | Path) -> list[str]:
    """The chunk ids of an index in its order, as hex. Raises ValueError as `index_rows` does."""
    return [chunk_id for _end, chunk_id in index_rows(index)]


def index_faults(index: str | Path, store: str | Path) -> list[str]:
    """The chunks of an index that a store does not have, a line for each."""
    return [
        f"{index}: chunk {name} is not in {store}"
        for name in dict.fromkeys(index_ids(index))
        if not any(os.path.exists(Path(store, name[:4], name + suffix)) for suffix in (".cacnk", ""))
    ]
