"""Indexes and archives from web servers, read in order; what broke on the way goes on where it was."""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING

from casync_py.errors import FormatError, PeerError
from casync_py.files import unnamed_file, write_all
from casync_py.format.constants import TRAVELLING_INDEX_MAX
from casync_py.format.index import Index
from casync_py.format.index_layout import HEADER_SIZE, parse_header
from casync_py.remotes.http.download import Download

if TYPE_CHECKING:
    from casync_py.remotes.http.web import Web

_WORTH_A_REQUEST = 4 << 20  # bytes: to leave out less, it is quicker to let them come


def fetch_index(web: Web, url: str, name: str) -> Index:
    """The index at a URL, which is the caller's to close; the file lies in `$TMPDIR`.

    Raises:
        PeerError: there is none, it cannot be had, or it is too large.
        FormatError: what is there is no index.
        OSError: it cannot be kept.
    """
    fd = _unnamed_file()
    try:
        download = Download(web, url, name, may_restart=True)
        try:
            while piece := download.read():
                if download.position == len(piece):  # the first one, maybe once more
                    os.ftruncate(fd, 0)
                    os.lseek(fd, 0, os.SEEK_SET)
                if max(download.position, download.size or 0) > TRAVELLING_INDEX_MAX:
                    raise PeerError(f"An index of more than {TRAVELLING_INDEX_MAX} bytes", name)
                _keep(fd, piece)
                if download.position - len(piece) < HEADER_SIZE:
                    _check_beginning(fd, name)
        finally:
            download.close()
        return Index.open(os.dup(fd), name)
    finally:
        os.close(fd)


def _unnamed_file() -> int:
    try:
        return unnamed_file()
    except OSError as error:
        raise OSError(error.errno, error.strerror, tempfile.gettempdir()) from None


def _check_beginning(fd: int, name: str) -> None:
    """What is no index need not come to its end, if it has one."""
    beginning = os.pread(fd, HEADER_SIZE, 0)
    if len(beginning) == HEADER_SIZE:
        try:
            parse_header(beginning)
        except FormatError as error:
            error.name = name
            raise


def _keep(fd: int, piece: bytes) -> None:
    try:
        write_all(fd, piece)
    except OSError as error:
        raise OSError(error.errno, error.strerror, tempfile.gettempdir()) from None


class WebArchive:
    """An `ArchiveSource` at a URL. One thread reads it.

    Attributes:
        name: for messages.
    """

    def __init__(self, web: Web, url: str, name: str) -> None:
        """Ask for it.

        Raises:
            PeerError: there is none, or it cannot be had.
        """
        self.name = name
        self._download = Download(web, url, name, may_restart=False)
        self._skip = 0
        self._download.open()

    def read(self) -> bytes | memoryview:
        """The next piece, empty at the end.

        Raises:
            PeerError: it cannot be had any more.
            SourceChanged: there is another archive now.
        """
        if self._skip >= _WORTH_A_REQUEST and self._download.jump(self._skip):
            self._skip = 0
        while piece := self._download.read():
            dropped = min(self._skip, len(piece))
            self._skip -= dropped
            if dropped < len(piece):
                return memoryview(piece)[dropped:] if dropped else piece
        return b""

    def skip(self, size: int, /) -> None:
        """The next `size` bytes are not wanted; many of them are not asked for."""
        self._skip += size

    def close(self) -> None:
        """Let go of the connection; twice is fine."""
        self._download.close()
