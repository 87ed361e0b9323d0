"""What the server of a store can do beyond handing out files, asked with one OPTIONS."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from casync_py.errors import UsageError
from casync_py.protocol.posted import PROTOCOL_HEADER, Exchange
from casync_py.remotes.http.errors import WebError

if TYPE_CHECKING:
    from casync_py.remotes.http.web import Web


@dataclass(frozen=True, slots=True)
class Offers:
    """What a server said.

    Attributes:
        known: names of the exchanges that it knows, and `has`; None for a server that knows nothing of casync.
    """

    known: frozenset[str] | None = None

    def __contains__(self, name: str) -> bool:
        return self.known is not None and name in self.known


def ask_offers(web: Web, url: str) -> Offers:
    """What is offered at a store's URL. A server that refuses the question is a plain one.

    Raises:
        WebError: it cannot be reached, or wants to know who asks.
    """
    try:
        answer = web.request("OPTIONS", url, expect=range(200, 300))
    except WebError as error:
        if error.status is None or error.transient or error.status in {401, 407}:
            raise
        return Offers()
    named = answer.headers.get(PROTOCOL_HEADER.lower())
    if named is None:
        return Offers()
    return Offers(frozenset(name.strip().lower() for name in named.split(",")))


def check_writable(offers: Offers, name: str) -> None:
    """Find out now what the server would say at the end. A plain one does not tell.

    Raises:
        UsageError: it lets nobody write.
    """
    if offers.known is not None and Exchange.SEND.value not in offers:
        raise UsageError(f"{name}: The server lets nobody write there")
