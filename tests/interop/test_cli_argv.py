"""A large table of command lines, each given to casync and to casync-py: same exit status, same side that answers.

casync's help is other text than ours, and its messages are worded otherwise; what is compared is the status, whether
anything is on standard output, and for the verbs that only read, every byte of it.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from typing import TYPE_CHECKING

import pytest

from casync_py.cli import main

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.peer("casync")

_BOOLEANS = "1 yes y true t on YES oN 0 no n false f off Off '' maybe ' yes' 2 yess"
_SIZES = (
    "auto '' 0 1 4096 4k 4K 1.5K 1K512 1KB 1.K .5K 1e3 +1 -1 0x10 1_000 128M 129M 1B ' 1K' '1 K' '1K ' "
    "1K:2K:3K 1:1:1 0:1:1 3:2:1 1:2 1:2:3:4 : :: 1:: :2K:3K 1K:2K: 1:auto:3 auto:1:1 1:1:129M 16K:64K:256K"
)
_LEVELS = "emerg alert crit err error warn warning notice info debug 0 7 8 07 +3 ' 3' 0x3 -1 ERR ''"
_OWNERS = "no false f off n maybe 1e3 '' '5 ' -1 -5 0x 08 0x1g"

ANSWERED = [  # nothing runs: help, version, lists of values, and mistakes before or after them
    "", "--", "-", "help", "help make", "help nonsense", "help --bogus", "--bogus help", "--help", "-h", "--hel",
    "--h",
    "--help make", "make --help", "make a b c d e --help", "nonsense --help", "--help nonsense", "--help --bogus",
    "--bogus --help", "-hfoo", "-vh", "-hv --bogus", "--digest=foo --help", "--help --digest=foo", "--help=1",
    "--help=",
    "---help", "-- --help", "--version", "--vers", "--ver", "--version --bogus", "--bogus --version", "make --version",
    "--what=help", "--what help", "--wha=help", "--with=help", "--without=help", "--with=help --bogus",
    "--bogus --with=help", "--what=help --digest=foo", "--digest=foo --what=help", "list --with=help",
    "--seed x --help",
    "--cache x --help", "--uid-shift=7 --help", "--uid-shift=x --help", "--rate-limit-bps=0 --help",
    "--store --help", "--store --help --help", "--store= --help", "nonsense", "LIST d", "lis d", "'' d", "list --",
    "-x list d", "-vx list d",
    "-v- list d", "-W list d", "--verbose=yes list d", "--nope list d", "--nope=1 list d", "list d --nope",
]  # fmt: skip
READ = [  # verbs that only read, on a directory
    "list d", "-- list d", "list -- d", "list d --", "list", "list d -v", "-v list d", "-vnc list d", "--verb list d",
    "--dry list d", "-n list d", "-lerr list d", "-l err list d", "list -l err d", "list d -l", "list d -vl",
    "-ld list d",
    "mtree d", "stat d", "digest d", "digest d/f", "digest", "list nowhere", "mtree nowhere", "stat nowhere",
    "digest nowhere", "list -- -d", "list ./-d", "list -", "digest -", "list ''", "digest ''", "list d/", "list ./d/.",
    "list a b c", "mtree a b c", "stat a b c", "digest a b c", "list d f", "mtree d f", "stat d f",
    "list d --what=directory", "list d --what=archive", "list d --what=archive-index", "list d --what=blob",
    "list d --what=blob-index", "list d --what=dir", "list d --what=", "digest d/f --what=blob",
    "digest d --what=blob",
    "digest d/f --what=directory", "--store list d", "--store=s list d", "--st=s list d", "--s=1 list d",
    "list d --store", "--extra-store=s list d", "--ex=1 list d", "--exclude=1 list d", "--exclude-f=1 list d",
    "--co=xz list d", "--c=xz list d", "--comp xz list d", "--compression=default list d", "--compression=lz4 list d",
    "--compression= list d", "--see d list d", "--seed d list d", "--seed= list d", "--seed-=no list d", "--ca list d",
    "--cache list d", "--cache=x list d", "--cach=x list d", "--cache- list d", "-c list d", "--with list d",
    "--with=unix list d", "--wit=unix list d", "--with=best --without=privileged mtree d", "--with=best,unix list d",
    "--with= list d", "--with=BEST list d", "--with=fat --with=unix mtree d", "--without=all mtree d",
    "--with=all --without=all list d", "--digest=sha256 digest d", "--digest=sha256 mtree d",
    "--digest=default digest d",
    "--digest=SHA256 list d", "--digest= list d", "--digest=sha512-256 digest d", "--mkdir=no list d",
    "--mkdir=x list d",
    "--m=no list d", "--rate-limit-bps=0 list d", "--rate-limit-bps=x list d", "--rate-limit-bps= list d",
    "--p=no list d", "--r=no list d", "--rec=yes list d", "--refl=no list d", "--h=yes list d", "--har=no list d",
    "--u=no list d", "--un=no list d", "--exclude-nodump=no digest d", "--exclude-submounts=yes digest d",
    "--delete=no list d", "--del no list d", "--d=no list d", "--hardlink=yes list d", "--reflink=yes list d",
    "--seed-output=yes list d", "--punch-holes=no list d",
    *(f"--exclude-nodump='{word}' list d" for word in shlex.split(_BOOLEANS)),
    *(f"list d --undo-immutable '{word}'" for word in shlex.split(_BOOLEANS)),
    *(f"--chunk-size='{size}' list d" for size in shlex.split(_SIZES)),
    *(f"list d -l '{level}'" for level in shlex.split(_LEVELS)),
    *(f"--uid-shift='{owner}' list d" for owner in shlex.split(_OWNERS)),
    *(f"--uid-range='{owner}' list d" for owner in shlex.split(_OWNERS)),
]  # fmt: skip
WRITE = [  # each side in a folder of its own
    "make t.caidx d", "make d t.caidx", "make t.catar d", "make t.caibx d/f", "make t.caibx d", "make t.caidx d/f",
    "make t.foo d", "make t.catar nowhere", "make nowhere/t.catar d", "make a b c",
    "make --store=other.castr t.caidx d",
    "--chunk-size=4K make t.caidx d", "make t.catar d --with=unix", "make t.foo d --what=archive",
    "make t.caibx d --what=archive-index", "make t.caidx d/f --what=blob-index", "make t.caidx d --what=directory",
    "make t.caidx d --what=blob", "make t.caidx d --compression=xz", "make t.caidx d --digest=sha256",
    "extract kept.catar out", "extract kept.caidx out", "extract kept.caibx out", "extract kept.caidx d",
    "extract kept.caibx d", "extract kept.caidx d/f", "extract nowhere.caidx out", "extract kept.caidx nowhere/out",
    "extract kept.foo out", "extract d out", "extract kept.caidx out f", "extract kept.caidx out nowhere",
    "extract kept.caidx out s/deep", "extract kept.caidx out /s/deep", "extract a b c d", "extract", "gc", "udev",
    "extract kept.caidx out --delete=no", "extract --hardlink=no --reflink=no --seed-output=no kept.caidx out",
    "extract kept.caidx --store=nowhere.castr out", "extract kept.caidx --store= out", "make t.caidx d --store=",
    "list kept.caidx", "list kept.catar s", "list kept.caidx s/deep", "list kept.caidx nowhere", "mtree kept.caidx f",
    "stat kept.caidx s", "stat kept.caidx f", "list kept.caibx", "digest kept.caidx", "digest kept.catar",
    "digest kept.caibx", "digest kept.caidx f", "digest kept.caidx s", "list --recursive=no kept.catar",
    "digest kept.catar --what=blob", "list kept.catar --what=archive-index", "digest kept.caibx f",
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small tree, and an archive and indexes of it."""
    folder = tmp_path_factory.mktemp("argv")
    _fill(folder)
    return folder


def _fill(folder: Path) -> None:
    (folder / "d" / "s").mkdir(parents=True)
    (folder / "d" / "f").write_text("some text\n" * 20)
    (folder / "d" / "s" / "deep").write_text("more\n")
    for name in ("d/s/deep", "d/s", "d/f", "d"):
        os.utime(folder / name, (1_600_000_000, 1_600_000_000))
    for output, source in (("kept.catar", "d"), ("kept.caidx", "d"), ("kept.caibx", "d/f")):
        subprocess.run(["casync", "make", output, source], cwd=folder, check=True, capture_output=True)


class Both:
    """What casync and casync-py did with one command line."""

    def __init__(self, line: str, theirs: Path, ours: Path, capfd: pytest.CaptureFixture[bytes]) -> None:
        words = shlex.split(line)
        done = subprocess.run(["casync", *words], cwd=theirs, stdin=subprocess.DEVNULL, capture_output=True)
        self.casync = (done.returncode, done.stdout)
        before = os.getcwd()
        os.chdir(ours)
        try:
            status = main(words)
        finally:
            os.chdir(before)
        out, err = capfd.readouterr()
        self.ours = (status, out)
        self.messages = f"casync: {done.stderr.decode()}\ncasync-py: {err.decode()}"
        assert status == 0 or err.count(b"\n") == 1 or "-v" in line, self.messages


@pytest.fixture(autouse=True)
def _standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both read /dev/null; no environment variable decides for them."""
    for name in ("CASYNC_STORE", "CASYNC_VERBOSE", "CASYNC_LOG_LEVEL", "CASYNC_COMPRESSED_CHUNK_SUFFIX"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("line", ANSWERED)
def test_answered_alike(line: str, folder: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    both = Both(line, folder, folder, capfdbinary)
    assert (both.ours[0], bool(both.ours[1])) == (both.casync[0], bool(both.casync[1])), both.messages


@pytest.mark.parametrize("line", READ)
def test_reads_alike(line: str, folder: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    both = Both(line, folder, folder, capfdbinary)
    assert both.ours == both.casync, both.messages


@pytest.mark.parametrize("line", WRITE)
def test_writes_alike(line: str, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    theirs, ours = tmp_path / "casync", tmp_path / "casync-py"
    for folder in (theirs, ours):
        folder.mkdir()
        _fill(folder)
    both = Both(line, theirs, ours, capfdbinary)
    assert both.ours == both.casync, both.messages


def test_options_end_at_the_first_argument_where_posix_is_asked_for(
    folder: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POSIXLY_CORRECT", "1")
    for line in ("list -v d", "-v list d", "list d --recursive=no"):
        both = Both(line, folder, folder, capfdbinary)
        assert both.ours == both.casync, both.messages


@pytest.mark.parametrize(
    "line",
    [
        "make --seed=x t.caidx d --cache=c",
        "make -c t.caidx d",
        "extract --seed=d kept.caidx out",
        "extract --reflink=yes kept.caidx out",
        "extract --hardlink=yes kept.caidx out",
        "extract --seed-output=yes kept.caidx out",
        "list --rate-limit-bps=1K d",
        "list --uid-shift=yes d",
        "list --uid-range=65536 d",
        "list --uid-shift=0 d",
        "gc kept.caidx",
        "mount kept.caidx m",
        "mkdev kept.caibx",
        "udev /dev/nbd0",
    ],
)
def test_what_is_not_there_yet_is_refused_by_name(
    line: str, folder: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    before = sorted(os.listdir(folder))
    assert main(line.split()) == 1
    out, err = capfdbinary.readouterr()
    assert out == b""
    assert b"not available yet" in err or b"comes with a later version" in err
    assert sorted(os.listdir(folder)) == before
