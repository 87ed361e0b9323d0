"""Locators of the scheme ssh as endpoints: each connection is an ssh that starts a peer on the other machine."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from casync_py.errors import PeerError
from casync_py.protocol import flags as f
from casync_py.protocol.connection import Connection, Role
from casync_py.remotes.ssh.address import parse_address
from casync_py.remotes.ssh.command import Served, peer_command
from casync_py.remotes.ssh.stream import SshStream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from casync_py.format.index import Index
    from casync_py.monitor import Monitor
    from casync_py.options import Settings
    from casync_py.peer.push_file import PushFile
    from casync_py.peer.pusher import Pusher
    from casync_py.remote.endpoint import Wanted
    from casync_py.remote.locator import Locator
    from casync_py.remotes.ssh.address import Address
    from casync_py.store.base import Store
    from casync_py.sync.stream import ArchiveSource
    from casync_py.sync.upload import FileSink, UploadPlan


class SshEndpoint:
    """`[USER@]HOST:PATH` or `ssh://[USER@]HOST[:PORT]/PATH`.

    Attributes:
        connection: user, host and port.
    """

    def __init__(self, locator: Locator) -> None:
        """Raises UsageError where the locator names nobody that ssh could connect to."""
        self.locator = locator
        self.connection: Address = parse_address(locator)

    def open_pull(self, wanted: Wanted, settings: Settings, monitor: Monitor) -> SshPull:
        return SshPull(self.connection, wanted, settings, monitor)

    def open_push_archive(self, settings: Settings, monitor: Monitor) -> FileSink:
        served = Served("push", archive=self.locator.path)
        return self._push_file(served, f.PUSH_ARCHIVE, settings, monitor)

    def open_push_index(self, settings: Settings, monitor: Monitor) -> FileSink:
        from casync_py.peer.push_file import SpooledPush

        served = Served("push", index=self.locator.path)
        peer_command(self.connection, served, os.environ)  # so that what is wrong with it is said now
        return SpooledPush(lambda: self._push_file(served, f.PUSH_INDEX, settings, monitor))

    def _push_file(self, served: Served, flags: int, settings: Settings, monitor: Monitor) -> PushFile:
        from casync_py.peer.push_file import PushFile

        stream, connection = _connect(
            self.connection, served, lambda ours: Connection(Role.PUSH_CLIENT, flags, ours=ours), monitor
        )
        return PushFile(stream, connection, timeout=settings.timeout)

    def open_push_chunks(self, plan: UploadPlan, settings: Settings, monitor: Monitor) -> Pusher:
        return self._push(Served("push", stores=(self.locator.path,)), plan, settings, monitor)

    def open_push(self, store: Locator, plan: UploadPlan, settings: Settings, monitor: Monitor) -> Pusher:
        return self._push(Served("push", index=self.locator.path, stores=(store.path,)), plan, settings, monitor)

    def _push(self, served: Served, plan: UploadPlan, settings: Settings, monitor: Monitor) -> Pusher:
        from casync_py.peer.pusher import Pusher, push_connection

        stream, connection = _connect(self.connection, served, lambda ours: push_connection(ours=ours), monitor)
        return Pusher(
            stream,
            connection,
            plan,
            compression=settings.store_options.compression,
            resources=settings.resources,
            monitor=monitor,
            timeout=settings.timeout,
        )


class SshPull:
    """What is read from one machine, over one connection at a time."""

    def __init__(self, address: Address, wanted: Wanted, settings: Settings, monitor: Monitor) -> None:
        """Connect, in a thread.

        Raises:
            UsageError: a path that cannot travel.
        """
        from casync_py.peer.puller import Puller

        self._address = address
        self._wanted = wanted
        self._monitor = monitor
        self._sessions = 0
        peer_command(address, self._serving(first=True), os.environ)  # so that what is wrong with it is said here
        self._puller = Puller(self._connect, timeout=settings.timeout)

    def _serving(self, *, first: bool) -> Served:
        wanted = self._wanted
        archive = wanted.archive.path if wanted.archive and first else None
        index = wanted.index.path if wanted.index and first else None
        return Served("pull", archive, index, tuple(store.path for store in wanted.stores))

    def _connect(self) -> tuple[SshStream, Connection]:
        """A session; later ones, which casync makes necessary because it sends a chunk once, have the stores alone."""
        served = self._serving(first=not self._sessions)
        self._sessions += 1
        flags = f.PULL_ARCHIVE if served.archive else 0
        flags |= f.PULL_INDEX if served.index else 0
        flags |= f.PULL_CHUNKS if served.stores else 0
        return _connect(
            self._address,
            served,
            lambda ours: Connection(Role.PULL_CLIENT, flags, ours=ours),
            self._monitor,
            quiet=self._sessions > 1,
        )

    def index(self) -> Index:
        assert self._wanted.index is not None
        with _naming(self._wanted.index):
            return self._puller.index(self._wanted.index.text)

    def archive(self) -> ArchiveSource:
        assert self._wanted.archive is not None
        return _NamedArchive(self._wanted.archive, self._puller.archive(self._wanted.archive.text))

    def stores(self) -> list[Store]:
        return [self._puller.store(", ".join(store.text for store in self._wanted.stores))]

    def close(self) -> None:
        self._puller.close()


class _NamedArchive:
    """An archive whose errors name it, not only the host."""

    def __init__(self, locator: Locator, archive: ArchiveSource) -> None:
        self.name = locator.text
        self._locator = locator
        self._archive = archive
        self.skip = archive.skip
        self.close = archive.close

    def read(self) -> bytes | memoryview:
        with _naming(self._locator):
            return self._archive.read()


def _connect(
    address: Address,
    served: Served,
    new_connection: Callable[[bool], Connection],
    monitor: Monitor,
    *,
    quiet: bool = False,
) -> tuple[SshStream, Connection]:
    """Start the peer.

    Args:
        new_connection: makes our end, told whether the peer may be of this package.
        quiet: as for `SshStream`.
    """
    command = peer_command(address, served, os.environ)
    connection = new_connection(command.ours)
    return SshStream(command, str(address), connection, monitor, quiet=quiet), connection


@contextmanager
def _naming(locator: Locator) -> Iterator[None]:
    """Name what was asked for in an error of the connection that does not: casync does not say what it lacks."""
    try:
        yield
    except PeerError as error:
        if locator.path not in error.reason:
            error.name = locator.text
        raise
