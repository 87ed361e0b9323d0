"""--mirror and --cache-size: stores of any kind, one for another."""

from __future__ import annotations

import os
import random
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from casync_py.api import digest, extract, make
from casync_py.errors import PeerError, UsageError
from casync_py.monitor import Monitor
from casync_py.options import Settings
from casync_py.testing.castr import store_faults
from casync_py.testing.serving import Served
from casync_py.testing.web import Asked, ScriptedServer, Step, answer

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

DATA = random.Random(1).randbytes(4_000_000)
FEW = Settings(retries=1, timeout=20.0)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with an index, its store, and another store with the same."""
    (tmp_path / "blob").write_bytes(DATA)
    make(str(tmp_path / "x.caibx"), str(tmp_path / "blob"), settings=Settings(what="blob-index"))
    shutil.copytree(tmp_path / "default.castr", tmp_path / "b.castr")
    return tmp_path


def read(place: Path, settings: Settings) -> list[str]:
    """Extract and compare; the notices."""
    monitor = Monitor()
    extract(str(place / "x.caibx"), str(place / "out"), settings=settings, monitor=monitor)
    assert (place / "out").read_bytes() == DATA
    (place / "out").unlink()
    return monitor.notices


def lose(store: Path, part: int) -> None:
    """Remove every chunk but some."""
    for number, path in enumerate(sorted(store.glob("*/*"))):
        if number % 3 != part:
            path.unlink()


def test_what_one_lacks_another_has(place: Path) -> None:
    shutil.copytree(place / "b.castr", place / "c.castr")
    for part, name in enumerate(("default", "b", "c")):
        lose(place / f"{name}.castr", part)
    mirrors = tuple(str(place / f"{name}.castr") for name in "bc")
    assert read(place, replace(FEW, mirrors=mirrors)) == []


def test_what_is_damaged_in_one_comes_from_another(place: Path) -> None:
    for path in sorted((place / "default.castr").glob("*/*"))[::2]:
        data = bytearray(path.read_bytes())
        path.unlink()
        path.write_bytes(data[:-1])
    (notice,) = read(place, replace(FEW, mirrors=(str(place / "b.castr"),)))
    assert notice.startswith("Chunk ")
    assert notice.endswith(", going on with another mirror")


def test_a_main_store_that_is_not_there(place: Path) -> None:
    settings = replace(FEW, store=str(place / "no.castr"), mirrors=(str(place / "b.castr"),))
    assert read(place, settings) == [f"{place}/no.castr: No such file or directory, going on with another mirror"]
    with pytest.raises(FileNotFoundError) as caught:
        read(place, replace(settings, mirrors=(str(place / "neither.castr"),)))
    assert caught.value.filename == str(place / "no.castr")


def test_servers_that_die_one_after_the_other(place: Path) -> None:
    """Each answers a few requests and then none: what came is not asked for again."""
    asked = [0, 0]

    def dying(which: int) -> ScriptedServer:
        def script(request: Asked) -> Iterable[Step]:
            path = place / request.target.lstrip("/")
            if request.method != "GET":
                return [answer(405)]
            asked[which] += 1
            return [answer(200, path.read_bytes())] if asked[which] <= 10 else [answer(503)]

        return ScriptedServer(script)

    with dying(0) as first, dying(1) as second, Served(place) as last:
        urls = [f"http://127.0.0.1:{server.port}/b.castr" for server in (first, second)]
        settings = replace(FEW, store=urls[0], mirrors=(urls[1], f"{last.url}/default.castr"), retries=1)
        notices = read(place, settings)
    assert [notice.partition(", ")[2] for notice in notices] == ["going on with another mirror"] * 2
    assert urls[0] in notices[0]
    assert urls[1] in notices[1]


def test_mirrors_of_every_kind(place: Path) -> None:
    with Served(place) as served:
        gone = served.url
    with Served(place) as served:
        mirrors = (f"{gone}/default.castr", str(place / "no.castr"), f"{served.url}/b.castr")
        settings = replace(FEW, store="ssh://127.0.0.1:1/x.castr", mirrors=mirrors)
        assert len(read(place, settings)) == 3
        tree = place / "tree"
        (tree / "sub").mkdir(parents=True)
        (tree / "sub" / "file").write_bytes(DATA[:100_000])
        index = str(place / "t.caidx")
        made = make(index, str(tree), settings=Settings(what="archive-index", store=str(place / "b.castr")))
        assert digest(index, settings=settings) == made.digest


def test_a_password_in_a_mirrors_url_is_in_no_message(place: Path) -> None:
    with Served(place) as served:
        url = served.url
    urls = [f"{url.replace('//', '//me:secret@')}/{name}.castr?token=secret" for name in "ab"]
    monitor = Monitor()
    with pytest.raises(PeerError) as caught:
        extract(
            str(place / "x.caibx"),
            str(place / "out"),
            settings=replace(FEW, store=urls[0], mirrors=(urls[1],), retries=0),
            monitor=monitor,
        )
    assert "secret" not in "".join([str(caught.value), *monitor.notices])


def test_mirrors_behind_a_store_cache_of_limited_size(place: Path) -> None:
    settings = replace(FEW, mirrors=(str(place / "b.castr"),), cache_store=str(place / "cache"), cache_size=1_000_000)
    for _ in range(2):
        assert read(place, settings) == []
    assert store_faults(place / "cache") == []
    kept = sum(path.stat().st_size for path in (place / "cache").glob("*/*"))
    assert 500_000 < kept <= 1_000_000
    assert os.listdir(place / "default.castr")


def test_a_size_without_a_store_cache(place: Path) -> None:
    with pytest.raises(UsageError, match="no store cache"):
        read(place, replace(FEW, cache_size=1000))
