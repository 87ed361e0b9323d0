"""Values of options: each is checked as soon as it is read, so that the first mistake is the one reported."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from casync_py.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from casync_py.cli.casync_argv import Given
    from casync_py.cli.option_table import Option

_BOOLEANS = {
    **dict.fromkeys(("1", "yes", "y", "true", "t", "on"), True),
    **dict.fromkeys(("0", "no", "n", "false", "f", "off"), False),
}
BOOLEAN = "yes|no"  # metavar of the options that take one
KINDS = ("archive", "archive-index", "blob", "blob-index", "directory")
_LEVELS = ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug")
_MORE_LEVELS = {"error": 3, "warn": 4}
LEVEL_ERROR, LEVEL_NOTICE, LEVEL_INFO = 3, 5, 6
_MAX_JOBS = 1024
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2
_HEADER_VALUE = re.compile(r"[\t -~]+")
_MAX_RETRIES = 1000
_MAX_TIMEOUT_S = 10**9


def parse_boolean(text: str) -> bool:
    """casync's booleans, in any case.

    Raises:
        UsageError: any other word.
    """
    try:
        return _BOOLEANS[text.lower()]
    except KeyError:
        raise UsageError(f"Not yes or no: {text!r}") from None


def parse_log_level(text: str) -> int:
    """A syslog level, 0 to 7, by name or number.

    Raises:
        UsageError: neither.
    """
    if text in _LEVELS:
        return _LEVELS.index(text)
    if text in _MORE_LEVELS:
        return _MORE_LEVELS[text]
    if len(text) == 1 and text in "01234567":
        return int(text)
    raise UsageError(f"Unknown log level {text!r}; known are {', '.join(_LEVELS)} and 0 to 7")


def parse_header(text: str) -> tuple[str, str]:
    """A header as `NAME: VALUE`.

    Raises:
        UsageError: no such thing; the value, which may be secret, is not repeated.
    """
    name, colon, value = text.partition(":")
    value = value.strip()
    if not colon or not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
        raise UsageError("A header is given as 'NAME: VALUE', in printable ASCII")
    return name, value


def parse_jobs(text: str) -> int:
    """Number of threads.

    Raises:
        UsageError: not a number from 1 to 1024.
    """
    if text.isascii() and text.isdigit() and 1 <= int(text) <= _MAX_JOBS:
        return int(text)
    raise UsageError(f"Not a number from 1 to {_MAX_JOBS}: {text!r}")


def parse_kind(text: str) -> str:
    """`--what=`.

    Raises:
        UsageError: no such kind.
    """
    if text not in KINDS:
        raise UsageError(f"Unknown kind {text!r}; known are {', '.join(KINDS)}")
    return text


def parse_nonzero_size(text: str) -> int:
    """A size of at least one byte.

    Raises:
        UsageError: no size, or 0.
    """
    from casync_py.chunking.params import parse_size

    size = parse_size(text)
    if not size:
        raise UsageError("Cannot be 0")
    return size


def parse_place(text: str) -> str:
    """A store's path or URL. Like casync, only a verb that runs minds an empty one.

    Raises:
        UsageError: empty.
    """
    if not text:
        raise UsageError("The name of a store cannot be empty")
    return text


def parse_retries(text: str) -> int:
    """How often to try again, 0 to 1000.

    Raises:
        UsageError: anything else.
    """
    if text.isascii() and text.isdigit() and len(text) < 5 and int(text) <= _MAX_RETRIES:
        return int(text)
    raise UsageError(f"Not a number of retries from 0 to {_MAX_RETRIES}: {text!r}")


def parse_timeout(text: str) -> float:
    """Seconds; infinity for 0.

    Raises:
        UsageError: no number, or a negative one.
    """
    try:
        seconds = float(text) if text.isascii() else -1
    except ValueError:
        seconds = -1
    if not 0 <= seconds <= _MAX_TIMEOUT_S:
        raise UsageError(f"Not a number of seconds: {text!r}")
    return seconds or math.inf


def parse_peer(text: str) -> bool:
    """Which dialect of ours the client speaks: there is one. Raises UsageError for any other."""
    if text != "1":
        raise UsageError(f"Unknown dialect {text!r}; this version knows 1")
    return True


def parse_owner_number(text: str) -> int | bool:
    """A number as C writes it, or a boolean; the number wins.

    Raises:
        UsageError: neither.
    """
    digits = text.lstrip(" \t\n\v\f\r").removeprefix("+")
    if not (digits.isascii() and digits.isalnum() and digits[0].isdigit()):
        return parse_boolean(text)
    octal = len(digits) > 1 and digits.isdigit() and digits.startswith("0")
    try:
        return int(digits, 8 if octal else 0)
    except ValueError:
        raise UsageError(f"Not a number: {text!r}") from None


def parse_chunk_size(text: str) -> tuple[int, int, int]:
    """(min, avg, max) in bytes, 0 for what was not given. Raises UsageError."""
    from casync_py.chunking import params

    return params.parse_chunk_size(text)


def parse_feature(text: str) -> int:
    """Feature bits. Raises UsageError."""
    from casync_py.format import flags

    return flags.parse_feature(text)


def _listen(text: str) -> object:
    from casync_py.transport.listen import Listen

    return Listen.parse(text, 1)


def _digest(text: str) -> object:
    from casync_py.digest import digest_by_name

    return digest_by_name(text)


def _compression(text: str) -> object:
    from casync_py.compression import parse_compression

    return parse_compression(text)


_PARSERS: dict[str, Callable[[str], object]] = {
    "log-level": parse_log_level,
    "chunk-size": parse_chunk_size,
    "rate-limit-bps": parse_nonzero_size,
    "with": parse_feature,
    "without": parse_feature,
    "what": parse_kind,
    "uid-shift": parse_owner_number,
    "uid-range": parse_owner_number,
    "digest": _digest,
    "compression": _compression,
    "cache-size": parse_nonzero_size,
    "http-header": parse_header,
    "retries": parse_retries,
    "listen": _listen,
    "max-upload": parse_nonzero_size,
    "jobs": parse_jobs,
    "memory": parse_nonzero_size,
    "timeout": parse_timeout,
    "peer": parse_peer,
}


def check(given: Given) -> None:
    """Reject a value that the option cannot have.

    Raises:
        UsageError: names the option and what is wrong with its value.
    """
    option, value = given
    parser = parse_boolean if option.metavar == BOOLEAN else _PARSERS.get(option.name)
    if parser is None or not option.metavar:
        return
    try:
        parser(value)
    except UsageError as error:
        raise UsageError(f"--{option.name}: {error}") from None


def is_off(option: Option, value: str) -> bool:
    """Whether the value switches the option off. `0` is a number to those that take numbers."""
    takes_number = option.metavar == "yes|no|N"
    return "yes" in option.metavar and _BOOLEANS.get(value.lower()) is False and not (takes_number and value == "0")
