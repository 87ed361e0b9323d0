"""A local store's root: opened once as a descriptor, made on demand, locked against gc while it is written."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import threading

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class StoreDirectory:
    """The directory of a store.

    Attributes:
        path: as given; for opening it once and for messages.
    """

    def __init__(self, path: str, create: bool) -> None:
        """Open the directory; with `create`, an absent one is made by `open_to_write`.

        Raises:
            OSError: it is absent (unless `create`), no directory, or not accessible.
        """
        self.path = path
        self._create = create
        self._lock = threading.Lock()  # guards what follows while it changes
        self._fd = -1
        self._writing = False
        self._closed = False
        if self.open() is None and not create:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)

    def open(self) -> int | None:
        """The descriptor; None while the directory does not exist yet.

        Raises:
            ValueError: the store is closed.
        """
        if self._fd >= 0:
            return self._fd
        with self._lock:
            return self._open()

    def _open(self) -> int | None:
        if self._closed:
            raise ValueError(f"Store {self.path} is closed")
        if self._fd < 0:
            try:
                self._fd = os.open(self.path, _DIRECTORY)
            except FileNotFoundError:
                return None
        return self._fd

    def open_to_write(self) -> int:
        """The descriptor, locked shared: gc's exclusive lock is waited for, and keeps out until `release`.

        Raises:
            OSError: the directory cannot be made or locked, or is no longer the one that its path names.
        """
        if self._writing:
            return self._fd
        with self._lock:
            fd = self._open()
            if fd is None:
                with contextlib.suppress(FileExistsError):  # another writer was first
                    os.mkdir(self.path)
                fd = self._open()
            if fd is None:
                raise self.with_path(OSError(errno.ENOENT, os.strerror(errno.ENOENT)))
            try:
                fcntl.flock(fd, fcntl.LOCK_SH)
            except OSError as error:
                raise self.with_path(error) from None
            self.check_in_place()
            self._writing = True
            return fd

    def check_in_place(self) -> None:
        """Make sure that the open directory is still what the path names.

        Raises:
            OSError: it was removed, or another one stands in its place: what is written would not be found again.
        """
        mine = os.fstat(self._fd)
        try:
            current = os.stat(self.path)
        except FileNotFoundError:
            raise OSError(errno.ENOENT, "The store was removed while it was in use", self.path) from None
        if (mine.st_dev, mine.st_ino) != (current.st_dev, current.st_ino):
            raise OSError(errno.ESTALE, "The store was replaced by another directory while it was in use", self.path)

    def in_place(self) -> bool:
        """Whether `check_in_place` would find nothing wrong; True if there is no directory yet."""
        try:
            if self.open() is not None:
                self.check_in_place()
        except OSError:
            return False
        return True

    @property
    def writing(self) -> bool:
        """Whether `open_to_write` was called since the last `release`."""
        return self._writing

    def release(self) -> None:
        """Let gc in."""
        with self._lock:
            if self._writing:
                self._writing = False
                fcntl.flock(self._fd, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the descriptor, which releases the lock; twice is fine."""
        with self._lock:
            self._closed = True
            self._writing = False
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1

    def with_path(self, error: OSError, relative: str = "") -> OSError:
        """The error, naming the full path of what is at `relative`."""
        error.filename = os.path.join(self.path, relative) if relative else self.path
        error.filename2 = None
        return error
