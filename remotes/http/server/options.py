"""What is served over HTTP, and how, as one frozen value."""

from __future__ import annotations

from dataclasses import dataclass, field

from casync_py.options import Settings

DEFAULT_MAX_UPLOAD = 16 << 30


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """The choices of one server.

    Attributes:
        roots: paths of the directories that are served: one is `/`, several are `/BASENAME/`.
        writable: chunks, indexes and archives are taken too, not only given.
        upstream: URL of a server that has what is not here.
        cache_size: bytes that may be kept of what comes from there; None: no limit.
        max_upload: most bytes of an index or archive that is taken.
        settings: how chunks are stored (`store_options`), threads and memory (`resources`), how long another end may be
            silent (`timeout`), how the upstream is asked.
        private: there are tokens or client certificates, so that nobody in between may keep what is answered.
    """

    roots: tuple[str, ...]
    writable: bool = False
    upstream: str | None = None
    cache_size: int | None = None
    max_upload: int = DEFAULT_MAX_UPLOAD
    settings: Settings = field(default_factory=Settings)
    private: bool = False
