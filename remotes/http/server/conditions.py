"""Conditional and range requests. Source: RFC 9110, sections 13 and 14."""

from __future__ import annotations

import re
from email.utils import formatdate, parsedate_to_datetime
from typing import TYPE_CHECKING

from casync_py.remotes.http.server.answers import Refusal

if TYPE_CHECKING:
    from casync_py.remotes.http.server.calls import Call

_TAG = re.compile(rb'(?:W/)?("[^"]*")')
_RANGE = re.compile(rb"bytes=(\d{0,19})-(\d{0,19})")


def date_of(seconds: float) -> bytes:
    """A time as in Last-Modified."""
    return formatdate(int(seconds), usegmt=True).encode()


def is_known(call: Call, tag: bytes, modified: float | None = None) -> bool:
    """Whether the client has what would be sent, so that 304 says all.

    Args:
        tag: the ETag, with `W/` if it is a weak one.
        modified: the time in Last-Modified, where it is told.
    """
    tags = call.header(b"if-none-match")
    if tags is not None:
        return tags.strip() == b"*" or tag.removeprefix(b"W/") in _TAG.findall(tags)
    since = call.header(b"if-modified-since") if modified is not None else None
    seconds = None if since is None else _seconds(since)
    return seconds is not None and modified is not None and int(modified) <= seconds


def wanted_range(call: Call, tag: bytes, size: int, modified: float | None = None) -> tuple[int, int] | None:
    """Which bytes are asked for, from the first to before the last; None: all of them.

    Several ranges in one request are not served: the whole is a right answer too.

    Raises:
        Refusal: 416, there are none.
    """
    text = call.header(b"range")
    match = None if text is None else _RANGE.fullmatch(text.replace(b" ", b""))
    if match is None or not _range_applies(call, tag, modified):
        return None
    first, last = match.groups()
    if not first and not last:
        return None
    if not first:
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), min(size, int(last) + 1) if last else size
        if last and int(last) < start:
            return None  # no valid range: as if there was none
    if start >= end:
        raise Refusal(
            416, f"There are {size} bytes, and none of those asked for", [(b"content-range", b"bytes */%d" % size)]
        )
    return start, end


def _range_applies(call: Call, tag: bytes, modified: float | None) -> bool:
    condition = call.header(b"if-range")
    if condition is None:
        return True
    condition = condition.strip()
    if condition.startswith((b'"', b"W/")):
        return condition == tag and not tag.startswith(b"W/")
    return modified is not None and _seconds(condition) == int(modified)


def _seconds(date: bytes) -> int | None:
    try:
        return int(parsedate_to_datetime(date.decode("ascii")).timestamp())
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
