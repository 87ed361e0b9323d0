"""From a locator's text to an endpoint, through the table of schemes."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from casync_py.errors import UsageError
from casync_py.remote.locator import Locator, parse_locator

if TYPE_CHECKING:
    from collections.abc import Callable

    from casync_py.remote.endpoint import Endpoint


def open_remote(text: str) -> Endpoint:
    """The endpoint of a path or URL.

    Raises:
        UsageError: nothing here serves the locator's scheme; the message names those that are served.
    """
    from casync_py.remotes import SCHEMES

    locator = parse_locator(text, SCHEMES)
    entry = SCHEMES.get(locator.scheme)
    if entry is None:
        served = ", ".join(sorted(SCHEMES))
        raise UsageError(
            f"{locator.shown}: Locations of kind {locator.scheme!r} are not supported (supported: {served})"
        )
    module, _, name = entry.partition(":")
    opener: Callable[[Locator], Endpoint] = getattr(import_module(module), name)
    return opener(locator)
