"""What a user types for an archive, index, blob or store: a path, an SSH location or a URL. Source: spec of casync's
grammar, caremote's locator classes (casync caremote.c, ca_classify_locator; caindex suffixes in casync-tool.c).
`ssh://` is ours: casync looks for a helper program `casync-ssh`, which does not exist."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from casync_py.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Collection

_URL = re.compile(r"([a-z][a-z0-9+.-]*)://([A-Za-z0-9._\-@:\[\]%]+)(?=[/;?]|\Z)")
_SSH = re.compile(r"((?:[A-Za-z0-9._%-]+@)?[A-Za-z0-9._%-]+):(.+)", re.DOTALL)
_SCHEME_ONLY = re.compile(r"([a-z][a-z0-9+.-]*)://")
_SSH_URL = "ssh://"

SUFFIXES = {".catar": "archive", ".caidx": "archive-index", ".caibx": "blob-index"}


class LocatorKind(Enum):
    PATH = "path"
    SSH = "ssh"
    URL = "url"


@dataclass(frozen=True, slots=True)
class Locator:
    """A classified locator.

    Attributes:
        kind: path, ssh (`[USER@]HOST:PATH` or `ssh://[USER@]HOST[:PORT]/PATH`) or another URL.
        text: as typed (for a `file:` URL: the path that it names).
        scheme: "path", "ssh", or the URL's.
        authority: `[USER@]HOST` or the URL's authority, as typed.
        path: the path; for ssh the one on the other machine, relative to the home directory there unless it begins
            with a slash; for other URLs what follows the authority, as typed.
    """

    kind: LocatorKind
    text: str
    scheme: str
    authority: str
    path: str

    @property
    def content(self) -> str | None:
        """What the suffix says: "archive", "archive-index", "blob-index"; None for no known suffix."""
        name = self.path if self.kind is LocatorKind.SSH else self.text
        if self.kind is LocatorKind.URL:
            for mark in "?;":
                if mark in name:
                    name = name[: name.rindex(mark)]
                    break
        return next((what for suffix, what in SUFFIXES.items() if name.endswith(suffix)), None)

    @property
    def shown(self) -> str:
        """As it stands in messages: of a URL neither user and password nor the query, which may be secret."""
        if self.kind is not LocatorKind.URL:
            return self.text
        path, mark, _ = self.path.partition("?")
        return f"{self.scheme}://{self.authority.rpartition('@')[2]}{path}{mark and '?...'}"

    def default_store(self) -> str:
        """`default.castr` beside it: the last path component replaced; a URL's query is cut off first."""
        if self.kind is LocatorKind.URL:
            path = re.split(r"[;?]", self.path, maxsplit=1)[0]
            return f"{self.scheme}://{self.authority}{_sibling(path) if '/' in path else '/default.castr'}"
        if self.text.startswith(_SSH_URL):
            return _sibling(self.text)
        if self.kind is LocatorKind.SSH:
            return f"{self.authority}:{_sibling(self.text[len(self.authority) + 1 :])}"
        return _sibling(self.path)


def _sibling(path: str) -> str:
    head, slash, _ = path.rpartition("/")
    return f"{head}{slash}default.castr"


def parse_locator(text: str, schemes: Collection[str] = ()) -> Locator:
    """Classify a locator in casync's order: clearly a path, a URL, an SSH location, else a path.

    Args:
        schemes: known schemes, which are also accepted without an authority (`nbd+unix:///...`).

    Raises:
        UsageError: empty text, a NUL in it, or a `file:` or `ssh:` URL that names no path.
    """
    if not text or "\0" in text:
        raise UsageError("An empty path or URL was given" if not text else f"A NUL byte is in {text!r}")
    if text.startswith(("/", "./")) or text in {".", ".."}:
        return _path(text)
    if url := _URL.match(text):
        scheme, authority = url.groups()
        return _file_or_url(text, scheme, authority, text[url.end() :])
    if text.startswith(_SSH_URL):
        return _ssh_url(text, "", "")
    if (short := _SCHEME_ONLY.match(text)) and (short[1] in schemes or short[1] == "file"):
        return _file_or_url(text, short[1], "", text[short.end() :])
    if ssh := _SSH.fullmatch(text):
        return Locator(LocatorKind.SSH, text, "ssh", ssh[1], _remote_path(text, ssh[2]))
    return _path(text)


def _unquoted(text: str) -> str:
    from urllib.parse import unquote  # here, because few runs need it

    return os.fsdecode(unquote(text, errors="surrogateescape"))


def _path(text: str) -> Locator:
    return Locator(LocatorKind.PATH, text, "path", "", text)


def _file_or_url(text: str, scheme: str, authority: str, rest: str) -> Locator:
    if scheme == "file":
        if authority not in {"", "localhost"} or not rest.startswith("/"):
            raise UsageError(f"{text}: A file URL must name an absolute path on this machine")
        return _path(_unquoted(rest))
    if scheme == "ssh":
        return _ssh_url(text, authority, rest)
    return Locator(LocatorKind.URL, text, scheme, authority, rest)


def _ssh_url(text: str, authority: str, rest: str) -> Locator:
    """An absolute path, or after `/~/` one in the home directory; `?`, `;` and `#` are part of it."""
    path = _unquoted(rest)
    if not authority or not path.startswith("/") or "\0" in path:
        raise UsageError(f"{text}: An SSH URL has a host and a path: ssh://HOST/PATH or ssh://HOST/~/PATH")
    return Locator(LocatorKind.SSH, text, "ssh", authority, _remote_path(text, path.removeprefix("/"), path))


def _remote_path(text: str, path: str, otherwise: str | None = None) -> str:
    """A path as the shell there would read its tilde: `~/x` is `x`, because commands run in the home directory.

    Args:
        otherwise: what is meant where there is no tilde; `path` by default.
    """
    tilde, _, rest = path.partition("/")
    if not tilde.startswith("~"):
        return path if otherwise is None else otherwise
    if tilde != "~":  # casync leaves it to a shell
        raise UsageError(f"{text}: Only ~/ is understood, not the home directory of another user")
    return rest.lstrip("/") or "."
