"""Pages for people: what is served, how large it is, and the commands to paste. The same as JSON for programs.

No script, nothing from elsewhere, every text escaped; a policy makes the browser hold to that.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shlex
import time
from html import escape
from typing import TYPE_CHECKING, NamedTuple

from casync_py.amounts import count_text, size_text
from casync_py.remotes.http.server.answers import Refusal, answer, of_os_error
from casync_py.remotes.http.server.folder import look
from casync_py.remotes.http.server.places import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from casync_py.remotes.http.server.calls import Call
    from casync_py.remotes.http.server.folder import Folder, Item
    from casync_py.remotes.http.server.options import ServeOptions
    from casync_py.remotes.http.server.places import Names, Places
    from casync_py.remotes.http.server.work import Work

_KINDS = {
    "folder": "folder",
    "store": "store of chunks",
    "archive": "archive of a tree",
    "archive-index": "index of a tree",
    "blob-index": "index of a file or image",
}
_HOST = re.compile(r"[A-Za-z0-9.-]+(:[0-9]+)?|\[[0-9A-Fa-f:.]+\](:[0-9]+)?")
_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; overflow-wrap: anywhere; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .35rem .8rem .35rem 0; border-top: 1px solid var(--line); vertical-align: top; }
thead th { border-top: 0; } .n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
tr.more td { border-top: 0; padding-top: 0; } td:first-child { overflow-wrap: anywhere; }
summary { cursor: pointer; opacity: .75; }
pre { background: var(--soft); border: 1px solid var(--line); border-radius: .4rem; padding: .6rem .8rem;
  overflow-x: auto; margin: .4rem 0; } code { user-select: all; }
footer { margin-top: 3rem; opacity: .75; font-size: .9rem; }
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_POLICY = "; ".join(
    (
        "default-src 'none'",
        f"style-src 'sha256-{_STYLE_HASH}'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = [
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-cache"),
    (b"vary", b"accept"),
]
_FOOTER = (
    "<footer>Served by casync-py. To read, casync takes the same commands; desync reads the stores and the indexes of "
    "files.</footer></body></html>\n"
)
_INTRODUCTION = (
    "<p>File trees and disk images, cut into chunks. Paste a command to get one: only the chunks that you lack are "
    "fetched, and each is verified.</p>"
)
_HEADINGS = (
    '<table><thead><tr><th>Name</th><th>What it is</th><th class="n">Content</th><th class="n">Chunks</th>'
    '<th class="n">File</th><th>Changed (UTC)</th></tr></thead><tbody>'
)
HTML, JSON = b"text/html; charset=utf-8", b"application/json"


class Where(NamedTuple):
    """How a page was asked for.

    Attributes:
        base: scheme and host of the server, as the client names it, without a slash at the end.
        slash: whether the URL ended in one, which decides what links are relative to.
        writable: chunks and indexes are taken.
        private: a token or certificate is needed.
    """

    base: str
    slash: bool
    writable: bool
    private: bool


async def show_folder(call: Call, options: ServeOptions, places: Places, names: Names, work: Work) -> None:
    """Answer GET of a folder with its page.

    Raises:
        Refusal: there is none.
    """
    try:
        folder = await work.read(look, places, names)
    except OSError as error:
        raise of_os_error(shown(names), error) from None
    if folder is None:
        raise Refusal(404, f"{shown(names)}: No such file")
    forwarded = call.header(b"x-forwarded-proto") == b"https"
    base = base_url("https" if forwarded else call.scheme, call.header(b"host") or b"")
    where = Where(base, call.path.endswith(b"/"), options.writable, options.private)
    as_json = wants_json(call.header(b"accept") or b"")
    body = json_page(folder, where) if as_json else html_page(folder, where)
    await answer(call.send, 200, [(b"content-type", JSON if as_json else HTML), *HEADERS], body)


def base_url(scheme: str, host: bytes, fallback: str = "localhost") -> str:
    """Scheme and host for commands; a Host header that is no host and port is not repeated."""
    name = host.decode("latin-1")
    return f"{scheme}://{name if _HOST.fullmatch(name) else fallback}"


def wants_json(accept: bytes) -> bool:
    """Whether a client asks for JSON; a browser names HTML too."""
    return b"application/json" in accept and b"text/html" not in accept


def json_page(folder: Folder, where: Where) -> bytes:
    """One object, which names what the HTML shows."""
    items = []
    for item in folder.items:
        fields = {"name": _unicode(item.name), "path": shown((*folder.names, item.name)), "kind": item.kind}
        told = {"size": item.size, "modified": item.mtime, "chunks": item.chunks, "content_size": item.content}
        items.append(fields | {name: value for name, value in told.items() if value is not None})
    page = {"version": 1, "path": shown(folder.names), "writable": where.writable, "entries": items}
    if folder.is_store:
        page |= {"kind": "store", "chunks": folder.chunks, "exact": folder.exact}
    else:
        page |= {"kind": "folder"}
    return json.dumps(page, ensure_ascii=False).encode() + b"\n"


def html_page(folder: Folder, where: Where) -> bytes:
    """A page that needs nothing but itself."""
    parts = [
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{_text(_title(folder))}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{_way(folder, where)}</h1>",
        *_summary(folder),
        *_table(folder, where),
        *_hints(folder, where),
        _FOOTER,
    ]
    return "".join(parts).encode()


def _title(folder: Folder) -> str:
    return f"{'/'.join(folder.names) or '/'} - casync-py"


def _way(folder: Folder, where: Where) -> str:
    """The path, with links to the folders above; relative, for servers in front that serve us below a path."""
    host = _text(where.base.partition("://")[2])
    up = len(folder.names) - (0 if where.slash else 1)
    steps = [f'<a href="{"../" * up or "./"}">{host}</a>/' if folder.names else host]
    for number, name in enumerate(folder.names, 1):
        last = number == len(folder.names)
        link = "../" * (up - number) or "./"
        steps.append(_text(name) if last else f'<a href="{link}">{_text(name)}</a>/')
    return "".join(steps)


def _summary(folder: Folder) -> Iterator[str]:
    if folder.is_store:
        about = "" if folder.exact else "about "
        yield f"<p>A store with {about}{count_text(folder.chunks, 'chunk')}.</p>"
    elif not folder.items:
        yield "<p>There is nothing to be served here yet.</p>"
    elif not folder.names:
        yield _INTRODUCTION


def _table(folder: Folder, where: Where) -> Iterator[str]:
    if not folder.items:
        return
    yield _HEADINGS
    prefix = "" if where.slash or not folder.names else shown(folder.names[-1:])[1:] + "/"
    first = True
    for item in folder.items:
        link = "./" + prefix + shown((item.name,))[1:] + ("/" if item.size is None else "")
        yield f'<tr><td><a href="{escape(link)}"><bdi>{_text(item.name)}</bdi></a></td><td>{_KINDS[item.kind]}</td>'
        yield from (f'<td class="n">{amount}</td>' for amount in _amounts(item))
        yield f"<td>{_time(item.mtime)}</td></tr>"
        commands = list(_commands(folder, item, where))
        if commands:
            yield f'<tr class="more"><td colspan="6"><details{" open" * first}><summary>Commands</summary>'
            yield from map(_command, commands)
            yield "</details></td></tr>"
            first = False
    yield "</tbody></table>"


def _amounts(item: Item) -> tuple[str, str, str]:
    content = "" if item.content is None else size_text(item.content)
    chunks = "" if item.chunks is None else f"{item.chunks:,}"
    return content, chunks, "" if item.size is None else size_text(item.size)


def _commands(folder: Folder, item: Item, where: Where) -> Iterator[str]:
    if item.size is None:
        return
    url = _url(folder, where, item.name)
    if item.kind == "archive":
        yield f"casync-py extract {url} {_target(item.name)}"
        yield f"casync-py list {url}"
    else:
        store = _store_option(folder, where)
        yield f"casync-py extract {store}{url} {_target(item.name)}"
        if item.kind == "archive-index":
            yield f"casync-py list {store}{url}"
        yield f"casync-py digest {store}{url}"
    yield f"curl -O {url}"


def _store_option(folder: Folder, where: Where) -> str:
    """Where the chunks are looked for, unless they are looked for there anyway."""
    stores = [item.name for item in folder.items if item.kind == "store"]
    if not stores or "default.castr" in stores:
        return ""
    return f"--store={_url(folder, where, stores[0])} "


def _hints(folder: Folder, where: Where) -> Iterator[str]:
    if folder.is_store:
        yield "<h2>Use this store</h2>"
        here = _url(folder, where)
        yield _command(f"casync-py extract --store={here} disk.caibx disk.img")
        if where.writable:
            yield _command(f"casync-py make --store={here} disk.caibx disk.img")
    elif where.writable and not folder.made_up:
        yield "<h2>Put something here</h2>"
        yield _command(f"casync-py make {_url(folder, where, 'docs.caidx')} /usr/share/doc")
        yield _command(f"casync-py make {_url(folder, where, 'disk.caibx')} disk.img")
    if where.private:
        yield "<p>Commands need your token too, as a password in <code>~/.netrc</code> or in the environment:</p>"
        yield _command("export CASYNC_PY_HTTP_HEADER='Authorization: Bearer TOKEN'")


def _url(folder: Folder, where: Where, *name: str) -> str:
    return shlex.quote(where.base + shown((*folder.names, *name)))


def _target(name: str) -> str:
    """What a command extracts to: the name without its suffix, such that no shell and no option parser minds it."""
    target = "".join(char if char.isprintable() else "_" for char in _unicode(name).rpartition(".")[0])
    return shlex.quote(f"./{target}" if target.startswith("-") else target)


def _command(text: str) -> str:
    return f"<pre><code>{escape(text)}</code></pre>"


def _text(name: str) -> str:
    """A name as it can be shown: what turns the direction of writing, breaks lines or the like becomes U+FFFD."""
    return escape("".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in _unicode(name)))


def _unicode(name: str) -> str:
    return os.fsencode(name).decode(errors="replace")


def _time(mtime: float | None) -> str:
    if mtime is None:
        return ""
    moment = time.gmtime(mtime)
    return time.strftime('<time datetime="%Y-%m-%dT%H:%M:%SZ">%Y-%m-%d %H:%M</time>', moment)
