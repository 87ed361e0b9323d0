"""Indexes and archives on their way to their places, in files beside them, which take their names at the end."""

from __future__ import annotations

import os
import stat
from struct import Struct
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from casync_py.errors import FormatError
from casync_py.files import AtomicFile, write_all
from casync_py.format import constants as c
from casync_py.peer.received_index import ReceivedIndex
from casync_py.remotes.http.server.answers import Refusal
from casync_py.remotes.http.server.places import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from casync_py.ids import ChunkId
    from casync_py.remotes.http.server.places import Names, Places
    from casync_py.store.local import LocalStore

_ROWS = 2048  # of an index that are looked at together
_FIRST_RECORD = Struct("<2Q").pack(c.ENTRY_SIZE, c.ENTRY)


class Content(Protocol):
    """A file that is written beside its place."""

    def feed(self, data: bytes) -> None:
        """The next bytes. Raises FormatError, OSError."""

    def finish(self) -> None:
        """There are no more. Raises FormatError."""

    def commit(self) -> None:
        """Sync it and give it its name. Raises OSError."""

    def abort(self) -> None:
        """Remove it; harmless after `commit`."""


class IndexContent(ReceivedIndex):
    """An index that a client sends."""

    def __init__(self, path: str, name: str) -> None:
        """
        Args:
            name: for messages.

        Raises:
            OSError: it cannot be written there.
        """
        super().__init__(path)
        self.name = name

    def lacking(self, stores: Sequence[LocalStore]) -> tuple[int, ChunkId | None]:
        """How many of its chunks none of the stores has, and the first of them; what is there is kept safe from gc.

        Raises:
            ChunkInvalid, OSError: as `LocalStore.recognise`.
        """
        lacking = 0
        first = None
        for start in range(0, self.rows, _ROWS):
            ids = list(self.read(start, min(_ROWS, self.rows - start)))
            for store in stores:
                answers = store.recognise(ids)
                ids = [chunk_id for chunk_id, there in zip(ids, answers, strict=True) if not there]
                if not ids:
                    break
            lacking += len(ids)
            first = first or (ids[0] if ids else None)
        return lacking, first


class ArchiveContent:
    """An archive that a client sends."""

    def __init__(self, path: str, name: str) -> None:
        """As `IndexContent`."""
        self._name = name
        self._beginning = b""
        self._file = AtomicFile(path)
        self.commit = self._file.commit
        self.abort = self._file.abort

    def feed(self, data: bytes) -> None:
        if len(self._beginning) < len(_FIRST_RECORD):
            self._beginning += data[: len(_FIRST_RECORD) - len(self._beginning)]
            if not _FIRST_RECORD.startswith(self._beginning):
                raise FormatError("Not an archive: it does not begin with an ENTRY", 0, self._name)
        write_all(self._file.fd, data)

    def finish(self) -> None:
        if len(self._beginning) < len(_FIRST_RECORD):
            raise FormatError("Archive ends early", len(self._beginning), self._name)


ContentT = TypeVar("ContentT", bound=Content)


class Upload(Generic[ContentT]):
    """Content and the directory where it belongs, which is held open. Made and closed in threads.

    Attributes:
        content: what is written there.
        replaces: there is such a file already.
    """

    def __init__(self, places: Places, names: Names, make: Callable[[str, str], ContentT]) -> None:
        """Begin.

        Raises:
            Refusal: 404, there is no such place; 409, a directory is there.
            OSError: as `Places.enter`, or it cannot be written there.
        """
        where = shown(names)
        self._directory, name = places.enter(names, follow=False)
        try:
            self.replaces = self._is_there(name, where)
            self.content = make(f"/proc/self/fd/{self._directory}/{name}", where)
        except BaseException:
            os.close(self._directory)
            raise

    def _is_there(self, name: str, where: str) -> bool:
        try:
            status = os.lstat(name, dir_fd=self._directory)
        except FileNotFoundError:
            return False
        if stat.S_ISDIR(status.st_mode):
            raise Refusal(409, f"{where}: A directory has this name")
        return True

    def close(self) -> None:
        """Remove what was not committed."""
        try:
            self.content.abort()
        finally:
            os.close(self._directory)
