"""The bits of HELLO: what an end offers and what it wants. Source: casync caprotocol.h, `CA_PROTOCOL_*`.

Plain ints, because they are only ever combined and compared.
"""

from __future__ import annotations

READABLE_STORE = 0x1
WRITABLE_STORE = 0x2
READABLE_INDEX = 0x4
WRITABLE_INDEX = 0x8
READABLE_ARCHIVE = 0x10
WRITABLE_ARCHIVE = 0x20
PULL_CHUNKS = 0x40
PULL_INDEX = 0x80
PULL_ARCHIVE = 0x100
PUSH_CHUNKS = 0x200
PUSH_INDEX = 0x400
PUSH_INDEX_CHUNKS = 0x800  # "after taking my index, request from me the chunks that you lack"
PUSH_ARCHIVE = 0x1000

OURS = 1 << 63
"""In the HELLO of a server of this package that was told that its client is one too; casync would refuse the bit."""

READABLE = READABLE_STORE | READABLE_INDEX | READABLE_ARCHIVE
WRITABLE = WRITABLE_STORE | WRITABLE_INDEX | WRITABLE_ARCHIVE
PULL = PULL_CHUNKS | PULL_INDEX | PULL_ARCHIVE
PUSH = PUSH_CHUNKS | PUSH_INDEX | PUSH_INDEX_CHUNKS | PUSH_ARCHIVE
OPERATIONS = PULL | PUSH
KNOWN = READABLE | WRITABLE | OPERATIONS

INDEX_OPERATIONS = PULL_INDEX | PUSH_INDEX
ARCHIVE_OPERATIONS = PULL_ARCHIVE | PUSH_ARCHIVE
CHUNK_OPERATIONS = PULL_CHUNKS | PUSH_CHUNKS

COUNTERPART = {
    PULL_CHUNKS: READABLE_STORE,
    PULL_INDEX: READABLE_INDEX,
    PULL_ARCHIVE: READABLE_ARCHIVE,
    PUSH_CHUNKS: WRITABLE_STORE,
    PUSH_INDEX: WRITABLE_INDEX,
    PUSH_ARCHIVE: WRITABLE_ARCHIVE,
}
"""The service that the other end must offer for an operation."""

NAMES = {
    READABLE_STORE: "readable-store",
    WRITABLE_STORE: "writable-store",
    READABLE_INDEX: "readable-index",
    WRITABLE_INDEX: "writable-index",
    READABLE_ARCHIVE: "readable-archive",
    WRITABLE_ARCHIVE: "writable-archive",
    PULL_CHUNKS: "pull-chunks",
    PULL_INDEX: "pull-index",
    PULL_ARCHIVE: "pull-archive",
    PUSH_CHUNKS: "push-chunks",
    PUSH_INDEX: "push-index",
    PUSH_INDEX_CHUNKS: "push-index-chunks",
    PUSH_ARCHIVE: "push-archive",
    OURS: "casync-py",
}


def flag_names(flags: int) -> list[str]:
    """The names of the bits that are set, lowest first; bits without a name as one hexadecimal number at the end."""
    names = [name for bit, name in NAMES.items() if flags & bit]
    unknown = flags & ~(KNOWN | OURS)
    return [*names, f"{unknown:#x}"] if unknown else names


def unmet(operations: int, services: int) -> int:
    """Those of the operations that the other end's services do not cover."""
    return sum(wanted for wanted, service in COUNTERPART.items() if operations & wanted and not services & service)
