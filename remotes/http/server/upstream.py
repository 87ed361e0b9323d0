"""The server that has what is not here: its stores, each with the folder in which is kept what came from there."""

from __future__ import annotations

import errno
import os
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING
from weakref import WeakSet

from casync_py.compression import MAX_CHUNK_SIZE, NO_COMPRESSION
from casync_py.digest import DIGESTS
from casync_py.options import StoreOptions
from casync_py.protocol.messages import CHUNK_DATA_MAX
from casync_py.protocol.posted import Exchange
from casync_py.remotes.http.address import parse_web
from casync_py.remotes.http.endpoint import open_web
from casync_py.remotes.http.fetch import HttpStore
from casync_py.remotes.http.server.answers import Refusal, busy
from casync_py.remotes.http.server.open_proxied import OpenProxied
from casync_py.remotes.http.server.places import shown
from casync_py.remotes.http.server.shared import make_room
from casync_py.remotes.http.server.shelf import check_new_name
from casync_py.store.limited import LimitedStore
from casync_py.store.local import LocalStore
from casync_py.store.near import Near
from casync_py.store.proxied import ProxiedStore
from casync_py.store.verify import Verified

if TYPE_CHECKING:
    from collections.abc import Sequence

    from casync_py.ids import ChunkId
    from casync_py.monitor import Monitor
    from casync_py.remotes.http.server.options import ServeOptions
    from casync_py.remotes.http.server.places import Names, Places
    from casync_py.remotes.http.server.work import Work

_USED_MAX = 256  # stores that are used at the same time: an upstream server that does not answer frees none
ABSENT = (404, 410)
_RETRIES = 2  # somebody waits, who tries again himself


class Upstream:
    """Stores by their path in URLs, opened once each. As a `Shelf`, used in the event loop's thread."""

    def __init__(self, options: ServeOptions, places: Places, work: Work, monitor: Monitor) -> None:
        """Ask nothing yet.

        Args:
            options: with an `upstream`.

        Raises:
            UsageError: that is no URL of a web server.
        """
        assert options.upstream is not None
        address = parse_web(options.upstream)
        self.url = address.store
        self.shown = parse_web(address.store).shown.rstrip("/")
        self._options = options
        self._places = places
        self._work = work
        self._monitor = monitor
        settings = replace(options.settings, retries=min(_RETRIES, options.settings.retries))
        self.web = open_web([address], settings, monitor)
        self._jobs = max(1, options.settings.resources.jobs)
        self._checkers = ThreadPoolExecutor(self._jobs, "casync-serve-check")
        self._stores: OrderedDict[Names, OpenProxied] = OrderedDict()
        self._remotes: WeakSet[HttpStore] = WeakSet()  # they live as long as their threads

    async def open(self, names: Names) -> OpenProxied:
        """The store at `names`, which may be nowhere; enter it before anything else is awaited.

        Raises:
            Refusal: 503, too many are waited for; each has a thread that asks for it.
        """
        store = self._stores.get(names)
        if store is None:
            make_room(self._stores)
            if len(self._stores) >= _USED_MAX:
                raise busy(f"{shown(names)}: Too many stores are asked for at once")
            store = self._stores[names] = OpenProxied(names, self._open(names), self._work)
        else:
            self._stores.move_to_end(names)
        return store

    def _open(self, names: Names) -> ProxiedStore:
        url, name = self.url + _below(names), self.shown + _below(names)
        remote = HttpStore(self.web, url, name, suffix=self._options.settings.store_options.compressed_suffix)
        self._remotes.add(remote)
        check = partial(Verified, remote, tuple(DIGESTS.values()), jobs=self._jobs, executor=self._checkers)
        small, large = check(limit=CHUNK_DATA_MAX), check(limit=MAX_CHUNK_SIZE)
        near = Near(shown(names), lambda make: self._open_near(names, store, make), self._monitor)
        store = ProxiedStore(near, _Usual(remote, small), second=_Large(remote, large))
        return store

    def _open_near(self, names: Names, store: ProxiedStore, make: bool) -> LocalStore | LimitedStore:
        """Where what comes is kept.

        Raises:
            OSError: it cannot be opened, or there is nothing yet and it is not to be made.
        """
        suffix = self._options.settings.store_options.compressed_suffix
        try:
            if make:
                self._make_folders(names)
            directory, name = self._places.enter(names)
        except Refusal as refusal:
            raise FileNotFoundError(errno.ENOENT, refusal.text) from refusal
        try:
            if make and not os.path.isdir(f"/proc/self/fd/{directory}/{name}"):
                _check_name(names)
            local = _Folder(directory, name, StoreOptions(NO_COMPRESSION, suffix), create=make)
        except BaseException:
            os.close(directory)
            raise
        limit = self._options.cache_size
        return local if limit is None else LimitedStore(local, limit, spared=store.flights)

    def _make_folders(self, names: Names) -> None:
        """Make what a store's folder is to stand in, as far as it is not there."""
        for length in range(1, len(names)):
            directory, name = self._places.enter(names[:length])
            try:
                if name != "." and not os.path.isdir(f"/proc/self/fd/{directory}/{name}"):
                    _check_name(names[:length])
                    with suppress(FileExistsError):
                        os.mkdir(name, dir_fd=directory)
            finally:
                os.close(directory)

    def close(self) -> None:
        """Close all stores and the connections, once no request is being answered; twice is fine."""
        stores = [*self._stores.values()]
        self._stores.clear()
        self.web.close()
        for store in stores:
            store.close()
        for remote in [*self._remotes]:
            remote.join()
        self._checkers.shutdown()


def _check_name(names: Names) -> None:
    """
    Raises:
        PermissionError: it would be in another one's way.
    """
    try:
        check_new_name(names)
    except Refusal as refusal:
        raise PermissionError(errno.EPERM, refusal.text) from None


def _below(names: Names) -> str:
    return shown(names) if names else ""


class _Folder(LocalStore):
    """What is kept, in a directory that was entered through a descriptor."""

    def __init__(self, directory: int, name: str, options: StoreOptions, *, create: bool) -> None:
        super().__init__(f"/proc/self/fd/{directory}/{name}", options, create, kept=True)
        self._way = directory

    def close(self) -> None:
        super().close()
        way, self._way = self._way, -1
        if way >= 0:
            os.close(way)


class _Usual:
    """What the upstream server has, as long as it fits into a message."""

    def __init__(self, remote: HttpStore, small: Verified) -> None:
        self.name = remote.name
        self.get = small.get
        self.get_many = small.get_many
        self.has_many = remote.has_many
        self.close = remote.close


class _Large:
    """What does not fit into a message; a server of our kind tells of it as if it were missing."""

    def __init__(self, remote: HttpStore, large: Verified) -> None:
        self.name = remote.name
        self._remote = remote
        self.get = large.get
        self.get_many = large.get_many
        self.close = large.close

    def has_many(self, ids: Sequence[ChunkId]) -> list[bool]:
        if Exchange.PULL.value in self._remote.offers():
            return self._remote.has_many(ids)
        return [False] * len(ids)
