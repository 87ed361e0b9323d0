"""What the verbs do with SSH locators: how many connections, which stores are asked first, what is told."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from casync_py import api
from casync_py.errors import PeerError, UsageError
from casync_py.monitor import Monitor
from casync_py.options import Resources, Settings
from casync_py.testing.ssh import write_script

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Calls = Callable[[], list[str]]


@pytest.fixture
def calls(tmp_path: Path, stand_in: Path, far_programs: Path, monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Leads to a stand-in for ssh; returns whom it was started for since this was asked last."""
    log = tmp_path / "calls"
    ssh = write_script(tmp_path / "ssh", f'#!/bin/sh\necho "$*" >>"{log}"\nexec "{stand_in}" "$@"\n')
    monkeypatch.setenv("CASYNC_SSH_PATH", str(ssh))
    monkeypatch.setenv("PATH", f"{far_programs}:/usr/bin:/bin")
    monkeypatch.delenv("CASYNC_REMOTE_PATH", raising=False)
    monkeypatch.delenv("CASYNC_STORE", raising=False)

    def taken() -> list[str]:
        lines = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return sorted(line.split(" sh ")[0] for line in lines)

    return taken


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A directory with `blob`, its index `b.caibx`, its chunks in `s.castr`, and a store `empty.castr`."""
    (tmp_path / "blob").write_bytes(b"".join(number.to_bytes(4, "big") for number in range(100_000)))
    settings = Settings(store=str(tmp_path / "s.castr"), chunk_size=(0, 4096, 0))
    api.make(str(tmp_path / "b.caibx"), str(tmp_path / "blob"), settings)
    (tmp_path / "empty.castr").mkdir()
    return tmp_path


def extract(made: Path, index: str, store: str, *extra: str) -> Monitor:
    """Extract with `{}` in locators for the directory; the monitor tells what it took."""
    monitor = Monitor()
    settings = Settings(store=store.format(made), extra_stores=tuple(each.format(made) for each in extra))
    api.extract(index.format(made), str(made / "out"), settings=settings, monitor=monitor)
    assert (made / "out").read_bytes() == (made / "blob").read_bytes()
    return monitor


@pytest.mark.parametrize(
    ("index", "stores", "expected"),
    [
        ("h:{}/b.caibx", ["h:{}/s.castr"], ["h"]),
        ("h:{}/b.caibx", ["h:{}/empty.castr", "h:{}/s.castr"], ["h"]),
        ("ssh://h{}/b.caibx", ["h:{}/s.castr"], ["h"]),
        ("u@h:{}/b.caibx", ["h:{}/s.castr"], ["h", "u@h"]),
        ("ssh://u@h:22{}/b.caibx", ["ssh://u@h:23{}/s.castr"], ["-p 22 u@h", "-p 23 u@h"]),
        ("h:{}/b.caibx", ["g:{}/empty.castr", "{}/s.castr", "g:{}/s.castr"], ["g", "h"]),
        ("{}/b.caibx", ["g:{}/s.castr"], ["g"]),
        ("h:{}/b.caibx", ["{}/s.castr"], ["h"]),
        ("{}/b.caibx", ["{}/s.castr"], []),
    ],
)
def test_one_authority_is_one_connection(
    made: Path, calls: Calls, index: str, stores: list[str], expected: list[str]
) -> None:
    extract(made, index, *stores)
    assert calls() == expected


def test_stores_of_this_machine_are_asked_first(made: Path, calls: Calls) -> None:
    everything = extract(made, "{}/b.caibx", "h:{}/s.castr")
    nothing = extract(made, "{}/b.caibx", "h:{}/s.castr", "{}/s.castr")
    assert everything.received > 100_000
    assert nothing.received < 100


@pytest.mark.parametrize(
    ("index", "store", "expected"),
    [
        ("h:{}/new.caibx", "h:{}/new.castr", ["h"]),
        ("h:{}/new.caibx", "g:{}/new.castr", ["g", "h"]),
        ("h:{}/new.caibx", "{}/new.castr", ["h"]),
        ("{}/new.caibx", "g:{}/new.castr", ["g"]),
    ],
)
def test_making_takes_as_few(made: Path, calls: Calls, index: str, store: str, expected: list[str]) -> None:
    settings = Settings(store=store.format(made), chunk_size=(0, 4096, 0))
    result = api.make(index.format(made), str(made / "blob"), settings)
    assert calls() == expected
    assert result.bytes_sent > 1000
    assert (made / "new.caibx").read_bytes() == (made / "b.caibx").read_bytes()
    extract(made, "{}/new.caibx", "{}/new.castr")


def test_an_archive_is_made_and_read_there(made: Path, calls: Calls) -> None:
    (made / "tree").mkdir()
    (made / "tree" / "file").write_bytes(b"content")
    assert api.make(f"h:{made}/t.catar", str(made / "tree")).bytes_sent > 100
    assert list(api.list_tree(f"h:{made}/t.catar")) == list(api.list_tree(str(made / "tree")))
    assert api.digest(f"h:{made}/t.catar") == api.digest(str(made / "tree"))
    assert calls() == ["h"] * 3


def test_what_is_there_is_told(made: Path, calls: Calls) -> None:
    told: list[str] = []
    api.digest(
        f"h:{made}/b.caibx", settings=Settings(store=f"h:{made}/s.castr"), monitor=Monitor(on_detail=told.append)
    )
    assert told == ["h: casync-py, offers readable-store, readable-index; asked for pull-chunks, pull-index"]


@pytest.mark.peer("casync")
def test_it_is_told_once_however_many_sessions_there_are(
    made: Path, calls: Calls, casync: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """casync answers an id once in a session; a chunk that comes again much later needs another one."""
    monkeypatch.setattr("casync_py.peer.wanted.KEPT_SIZE", 1 << 16)
    noise = random.Random(1).randbytes(4_000_000)
    (made / "blob").write_bytes(noise + noise)
    api.make(str(made / "b.caibx"), str(made / "blob"), Settings(store=str(made / "s.castr")))
    monkeypatch.setenv("CASYNC_REMOTE_PATH", casync)
    told: list[str] = []
    settings = Settings(store=f"h:{made}/s.castr", resources=Resources(memory=1 << 20))
    api.extract(f"h:{made}/b.caibx", str(made / "out"), settings=settings, monitor=Monitor(on_detail=told.append))
    assert (made / "out").read_bytes() == (made / "blob").read_bytes()
    assert len(calls()) > 1
    assert len(told) == 1


def test_a_silent_end(made: Path, calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    silent = write_script(made / "silent", "#!/bin/sh\ncat >/dev/null\n")
    monkeypatch.setenv("CASYNC_SSH_PATH", str(silent))
    settings = Settings(timeout=0.2)
    for failing in (
        lambda: api.digest(f"h:{made}/b.caibx", settings=settings),
        lambda: list(api.list_tree("h:t.catar", settings=settings)),
        lambda: api.make("h:b.caibx", str(made / "blob"), settings),
    ):
        with pytest.raises(PeerError, match=r"^h.*: Silent for 0.2 seconds"):
            failing()


def test_what_is_absent_is_named(made: Path, calls: Calls) -> None:
    with pytest.raises(PeerError, match=r"^h: .*absent.caibx: No such file"):
        api.digest(f"h:{made}/absent.caibx")
    with pytest.raises(PeerError, match=r"^h: .*absent.catar: No such file"):
        list(api.list_tree(f"h:{made}/absent.catar"))
    with pytest.raises(PeerError, match="No such file"):
        api.make(f"h:{made}/absent/b.caibx", str(made / "blob"))
    assert not (made / "absent").exists()


@pytest.mark.peer("casync")
def test_what_casync_lacks_is_named_too(made: Path, calls: Calls, casync: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CASYNC_REMOTE_PATH", casync)
    with pytest.raises(PeerError, match=r"^h:absent.caibx: "):
        api.digest("h:absent.caibx")
    with pytest.raises(PeerError, match=r"^h:absent.catar: "):
        list(api.list_tree("h:absent.catar"))


@pytest.mark.parametrize("locator", ["h:a\nb.caibx", "-h:b.caibx", "ssh://h"])
def test_nothing_is_started_for_what_cannot_be(made: Path, calls: Calls, locator: str) -> None:
    with pytest.raises(UsageError):
        api.digest(locator)
    with pytest.raises(UsageError):
        api.make(locator, str(made / "blob"), Settings(store=str(made / "s.castr")))
    assert calls() == []
