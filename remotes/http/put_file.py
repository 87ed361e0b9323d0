"""An index or archive on its way to a web server: written here first, sent when it is complete."""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from casync_py.files import unnamed_file, write_all
from casync_py.remotes.http.address import store_url
from casync_py.remotes.http.terms import ARCHIVE_MEDIA_TYPE, INDEX_MEDIA_TYPE, STORE_HEADER, WRITTEN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from casync_py.remotes.http.address import WebAddress
    from casync_py.remotes.http.web import Web

_PIECE = 256 << 10


class HttpFile:
    """A `FileSink`: kept in `$TMPDIR`, PUT by `commit`, as often as it takes."""

    def __init__(self, web: Web, address: WebAddress, *, store: WebAddress | None = None) -> None:
        """
        Args:
            web: belongs to the file from now on, unless this raises.
            store: where the chunks of an index are, on the same server, which makes sure of them.
        """
        self._web = web
        self._address = address
        path = urlsplit(address.url).path
        self._headers = {"Content-Type": ARCHIVE_MEDIA_TYPE if path.endswith(".catar") else INDEX_MEDIA_TYPE}
        if store is not None:
            self._headers[STORE_HEADER] = urlsplit(store.store).path
        self._fd = unnamed_file()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Keep the next bytes."""
        try:
            write_all(self._fd, data)
        except OSError as error:
            raise OSError(error.errno, error.strerror, tempfile.gettempdir()) from None

    def commit(self) -> None:
        """Return once the server has said that the file is in place.

        Raises:
            PeerError: it did not take it; what it said is part of the message.
        """
        headers = {**self._headers, "Content-Length": str(os.fstat(self._fd).st_size)}
        self._web.request("PUT", self._address.url, content=self._pieces, headers=headers, expect=WRITTEN)
        self.abort()

    def _pieces(self) -> Iterator[bytes]:
        offset = 0
        while piece := os.pread(self._fd, _PIECE, offset):
            yield piece
            offset += len(piece)

    def abort(self) -> None:
        """Give the spool back."""
        self._web.close()
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def folder_url(url: str) -> str:
    """Of the directory that a file is in, which may be a store like any other."""
    return store_url(url).rpartition("/")[0] + "/"
