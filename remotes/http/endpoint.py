"""Locators of the schemes http and https as endpoints: any web server is read, one of this package or one that takes
PUT is written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from casync_py.remotes.http.address import parse_web

if TYPE_CHECKING:
    from collections.abc import Hashable

    from casync_py.format.index import Index
    from casync_py.monitor import Monitor
    from casync_py.options import Settings
    from casync_py.remote.endpoint import Wanted
    from casync_py.remote.locator import Locator
    from casync_py.remotes.http.address import WebAddress
    from casync_py.remotes.http.fetch import HttpStore
    from casync_py.remotes.http.upload import HttpSink
    from casync_py.remotes.http.web import Web
    from casync_py.store.base import Store
    from casync_py.sync.stream import ArchiveSource
    from casync_py.sync.upload import FileSink, PairedUpload, UploadPlan


class HttpEndpoint:
    """`http://[USER:PASSWORD@]HOST[:PORT]/PATH`, or https.

    Attributes:
        connection: origin, user and password.
    """

    def __init__(self, locator: Locator) -> None:
        """Raises UsageError where the locator is no web server's URL."""
        self.locator = locator
        self._address = address = parse_web(locator.text)
        self.connection: Hashable = (address.origin, address.userinfo)

    def open_pull(self, wanted: Wanted, settings: Settings, monitor: Monitor) -> HttpPull:
        return HttpPull(wanted, settings, monitor)

    def open_push_archive(self, settings: Settings, monitor: Monitor) -> FileSink:
        return self._file(settings, monitor)

    def open_push_index(self, settings: Settings, monitor: Monitor) -> FileSink:
        return self._file(settings, monitor)

    def _file(self, settings: Settings, monitor: Monitor) -> FileSink:
        from casync_py.remotes.http.offers import ask_offers, check_writable
        from casync_py.remotes.http.put_file import HttpFile, folder_url

        web = open_web([self._address], settings, monitor)
        try:
            check_writable(ask_offers(web, folder_url(self._address.url)), self._address.shown)
            return HttpFile(web, self._address)
        except BaseException:
            web.close()
            raise

    def open_push_chunks(self, plan: UploadPlan, settings: Settings, monitor: Monitor) -> HttpSink:
        return _open_sink(self._address, plan, settings, monitor)

    def open_push(self, store: Locator, plan: UploadPlan, settings: Settings, monitor: Monitor) -> PairedUpload:
        from casync_py.remotes.http.put_file import HttpFile
        from casync_py.sync.upload import PairedUpload

        chunks = parse_web(store.text)
        file = HttpFile(open_web([self._address], settings, monitor), self._address, store=chunks)
        try:
            return PairedUpload(file, _open_sink(chunks, plan, settings, monitor), plan)
        except BaseException:
            file.abort()
            raise


class HttpPull:
    """What is read from one web server."""

    def __init__(self, wanted: Wanted, settings: Settings, monitor: Monitor) -> None:
        """Nothing is waited for."""
        self._index, self._archive = (
            None if locator is None else parse_web(locator.text) for locator in (wanted.index, wanted.archive)
        )
        stores = [parse_web(locator.text) for locator in wanted.stores]
        named = [address for address in (self._index, self._archive, *stores) if address is not None]
        self._web = open_web(named, settings, monitor)
        self._stores: list[HttpStore] = []
        try:
            for address in stores:
                self._stores.append(self._open_store(address, settings))
        except BaseException:
            self.close()
            raise

    def _open_store(self, address: WebAddress, settings: Settings) -> HttpStore:
        from casync_py.remotes.http.fetch import HttpStore

        return HttpStore(
            self._web, address.store, parse_web(address.store).shown, suffix=settings.store_options.compressed_suffix
        )

    def index(self) -> Index:
        from casync_py.remotes.http.files import fetch_index

        assert self._index is not None
        index = fetch_index(self._web, self._index.url, self._index.shown)
        for store in self._stores:
            store.digest = index.digest
        return index

    def archive(self) -> ArchiveSource:
        from casync_py.remotes.http.files import WebArchive

        assert self._archive is not None
        return WebArchive(self._web, self._archive.url, self._archive.shown)

    def stores(self) -> list[Store]:
        return [*self._stores]

    def close(self) -> None:
        for store in self._stores:
            store.close()
        self._web.close()
        for store in self._stores:
            store.join()


def open_web(named: list[WebAddress], settings: Settings, monitor: Monitor) -> Web:
    """What asks web servers, with the user's credentials for the origins that the user named."""
    from casync_py.remotes.http.web import Web

    return Web(
        settings.access,
        timeout=settings.timeout,
        retries=settings.retries,
        monitor=monitor,
        user_origins=[address.named for address in named],
    )


def _open_sink(address: WebAddress, plan: UploadPlan, settings: Settings, monitor: Monitor) -> HttpSink:
    from casync_py.remotes.http.upload import HttpSink

    web = open_web([address], settings, monitor)
    try:
        return HttpSink(web, address, plan, settings, monitor)
    except BaseException:
        web.close()
        raise
