"""The scheme of plain paths: files, devices and directories of this machine, and `-` for the standard streams."""

from __future__ import annotations

from typing import TYPE_CHECKING

from casync_py.store.local import LocalStore

if TYPE_CHECKING:
    from casync_py.format.index import Index
    from casync_py.options import StoreOptions
    from casync_py.remote.locator import Locator
    from casync_py.sync.blob import FileBlob, FileTarget
    from casync_py.sync.stream import ArchiveSource
    from casync_py.sync.upload import LocalFile


class PathEndpoint:
    """Everything that a path can be; which of it, the caller asks for."""

    def __init__(self, locator: Locator) -> None:
        self.locator = locator
        self.path = locator.path

    def open_store(self, options: StoreOptions) -> LocalStore:
        return LocalStore(self.path, options)

    def open_writable_store(self, options: StoreOptions) -> LocalStore:
        return LocalStore(self.path, options, create=True)

    def open_index(self) -> Index:
        from casync_py.format.index import Index

        return Index.open(self.path)

    def open_archive(self) -> ArchiveSource:
        from casync_py.sync.stream import FileStream

        return FileStream(self.path)

    def open_blob(self) -> FileBlob:
        from casync_py.sync.blob import FileBlob

        return FileBlob(self.path)

    def open_target(self, size: int, punch_holes: bool = True) -> FileTarget:
        from casync_py.sync.blob import FileTarget

        return FileTarget(self.path, size, punch_holes)

    def open_file(self, mode: int) -> LocalFile:
        from casync_py.sync.upload import LocalFile

        return LocalFile(self.path, mode)
