"""The choices of one run as frozen values, handed down as arguments and never kept in globals."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from casync_py.compression import DEFAULT_COMPRESSION, Compression
from casync_py.digest import DEFAULT_DIGEST, Digest

DEFAULT_MEMORY = 96 << 20
DEFAULT_TIMEOUT_S = 120.0
DEFAULT_RETRIES = 6


def _processors() -> int:
    return len(os.sched_getaffinity(0))


@dataclass(frozen=True, slots=True)
class Resources:
    """How much of the machine an operation may take.

    Attributes:
        jobs: threads that digest and compress; all processors of the process by default.
        memory: bytes for buffers in flight; the whole process needs about 60 MiB more.
    """

    jobs: int = field(default_factory=_processors)
    memory: int = DEFAULT_MEMORY


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """How a store is written.

    Attributes:
        compression: what new chunks are compressed with.
        compressed_suffix: file suffix of compressed chunks ($CASYNC_COMPRESSED_CHUNK_SUFFIX).
    """

    compression: Compression = DEFAULT_COMPRESSION
    compressed_suffix: str = ".cacnk"


@dataclass(frozen=True, slots=True)
class Access:
    """Who we are to servers over HTTP; told to the hosts that locators name, and to no other.

    Attributes:
        headers: name and value of each header that goes with every request.
        tls_cert, tls_key: paths of our certificate and its key (PEM), where a server asks who we are; the key may
            stand in the certificate's file.
        tls_ca: path of the authorities' certificates (PEM) by which servers are known; None: those of the system.
    """

    headers: tuple[tuple[str, str], ...] = ()
    tls_cert: str | None = None
    tls_key: str | None = None
    tls_ca: str | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that casync's options and ours choose, in one value; the defaults are casync's.

    Attributes:
        what: "archive", "archive-index", "blob", "blob-index" or "directory"; None: told by suffix and type.
        store, extra_stores: locators; None: `$CASYNC_STORE`, else `default.castr` beside the index.
        mirrors: locators of stores that have what the main store has, asked where that fails.
        cache_store: path of the store cache, where chunks that were fetched are kept and looked for first.
        cache_size: bytes that the store cache may take; None: no limit.
        access: who we are to servers over HTTP.
        chunk_size: (min, avg, max) in bytes, 0 where not given.
        with_, without: feature bits of each `--with=` and `--without=`.
        exclude_nodump, exclude_submounts, exclude_file: what a scan leaves out.
        delete: remove what the archive does not have from extracted directories.
        punch_holes: leave runs of zeros as holes.
        undo_immutable: clear the immutable flag of what is in the way.
        recursive: list below the top directory's children.
        sync: a tree that was extracted is on disk before success is reported.
        archive_digest: compute the digest of the whole stream, which make prints.
        timeout: seconds that the other end of a connection may be silent while something is expected of it.
        retries: how often what failed over HTTP is tried again, with growing pauses.
    """

    what: str | None = None
    store: str | None = None
    extra_stores: tuple[str, ...] = ()
    mirrors: tuple[str, ...] = ()
    cache_store: str | None = None
    cache_size: int | None = None
    access: Access = field(default_factory=Access)
    chunk_size: tuple[int, int, int] = (0, 0, 0)
    digest: Digest = DEFAULT_DIGEST
    store_options: StoreOptions = field(default_factory=StoreOptions)
    with_: tuple[int, ...] = ()
    without: tuple[int, ...] = ()
    exclude_nodump: bool = True
    exclude_submounts: bool = False
    exclude_file: bool = True
    delete: bool = True
    punch_holes: bool = True
    undo_immutable: bool = False
    recursive: bool = True
    sync: bool = False
    archive_digest: bool = True
    timeout: float = DEFAULT_TIMEOUT_S
    retries: int = DEFAULT_RETRIES
    resources: Resources = field(default_factory=Resources)
