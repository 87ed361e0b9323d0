"""What casync's client fails at works with ours, against both servers: every mix of here and there; hostile names."""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from casync_py.testing.castr import index_faults, index_ids, store_faults
from casync_py.testing.ssh import write_script
from casync_py.testing.transcripts import TO_CLIENT, read_transcript, requested_ids, split_messages, type_name

if TYPE_CHECKING:
    from pathlib import Path

    from casync_py.testing.ssh import Sshd

pytestmark = pytest.mark.peer("casync")

Done = subprocess.CompletedProcess[str]


@dataclass(frozen=True, slots=True)
class Client:
    """Our client, with an environment that leads it to a server."""

    environment: dict[str, str]
    cwd: Path

    def run(self, *arguments: str | Path, status: int = 0, env: dict[str, str] | None = None) -> Done:
        command = [sys.executable, "-m", "casync_py", *map(str, arguments)]
        environment = {**os.environ, **self.environment, **(env or {})}
        done = subprocess.run(
            command, cwd=self.cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment, timeout=60
        )
        assert done.returncode == status, done.stderr
        assert "Traceback" not in done.stderr
        return done

    def refused(self, *arguments: str | Path, says: str) -> None:
        """The command fails with one line of ours that contains a text; another may say where what arrived is kept."""
        message = self.run(*arguments, status=1).stderr
        ours = [line for line in message.splitlines() if line.startswith("casync-py: ") and ".partial, " not in line]
        assert len(ours) == 1, message
        assert says.lower() in ours[0].lower()


@pytest.fixture(params=["casync", "casync-py"])
def client(request: pytest.FixtureRequest, stand_in: Path, far_programs: Path, casync: str, tmp_path: Path) -> Client:
    environment = {"CASYNC_SSH_PATH": str(stand_in), "PATH": f"{far_programs}:{os.environ['PATH']}"}
    if request.param == "casync":
        environment["CASYNC_REMOTE_PATH"] = casync
    return Client(environment, tmp_path)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A blob, and what casync makes of it; a tree too."""
    folder = tmp_path_factory.mktemp("source")
    rng = random.Random(8)
    (folder / "blob").write_bytes(rng.randbytes(1_500_000) + bytes(500_000))
    for name in ("tree/dir/one", "tree/dir/two", "tree/three"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(rng.randbytes(150_000))
    subprocess.run(["casync", "make", "blob.caibx", "blob"], cwd=folder, check=True, capture_output=True)
    subprocess.run(["casync", "make", "tree.caidx", "tree"], cwd=folder, check=True, capture_output=True)
    return folder


def assert_pushed(source: Path, index: Path, store: Path) -> None:
    assert index.read_bytes() == (source / "blob.caibx").read_bytes()
    assert store_faults(store) == []
    assert index_faults(index, store) == []


# Pushing


@pytest.mark.parametrize("index", ["here", "far", "other"])
@pytest.mark.parametrize("store", ["here", "far"])
def test_every_mix_of_here_and_there_is_pushed(
    client: Client, source: Path, tmp_path: Path, index: str, store: str
) -> None:
    """casync hangs with a remote index and a local store, fails with two hosts, and sends no chunk to a store alone."""
    host = {"here": "", "far": "far:", "other": "other:"}
    made = tmp_path / "made.caibx"
    for _ in range(2):
        client.run("make", f"--store={host[store]}{tmp_path}/s.castr", f"{host[index]}{made}", source / "blob")
        assert_pushed(source, made, tmp_path / "s.castr")
        made.unlink()
    assert [path.name for path in tmp_path.iterdir()] == ["s.castr"]


def test_only_what_the_far_store_lacks_crosses_the_wire(
    client: Client, source: Path, tmp_path: Path, stand_in: Path, relay: Path
) -> None:
    """Half of the chunks are there: the server asks for the others, each once, and gets no other."""
    store = tmp_path / "s.castr"
    shutil.copytree(source / "default.castr", store)
    ids = sorted(set(index_ids(source / "blob.caibx")))
    gone = set(ids[::2])
    for chunk_id in gone:
        (store / chunk_id[:4] / f"{chunk_id}.cacnk").unlink()
    record = tmp_path / "record"
    ssh = write_script(
        tmp_path / "ssh", f'#!/bin/sh\nexec {sys.executable} {relay} --record={record} {stand_in} "$@"\n'
    )
    client.run(
        "make",
        f"--store=far:{store}",
        f"far:{tmp_path}/made.caibx",
        source / "blob",
        env={"CASYNC_SSH_PATH": str(ssh)},
    )
    assert_pushed(source, tmp_path / "made.caibx", store)
    transcript = read_transcript(record)
    asked = [chunk_id.hex() for chunk_id in requested_ids(transcript.sent(TO_CLIENT))]
    assert sorted(asked) == sorted(gone)
    sent = [type_name(message) for message in split_messages(transcript.sent(1 - TO_CLIENT))]
    assert sent.count("CHUNK") == len(gone)


def test_blake3_is_refused_up_front(client: Client, source: Path, tmp_path: Path) -> None:
    arguments = ("make", "--digest=blake3", f"--store=far:{tmp_path}/s.castr", f"far:{tmp_path}/b.caibx")
    if "CASYNC_REMOTE_PATH" in client.environment:
        client.refused(*arguments, source / "blob", says="blake3")
        assert not (tmp_path / "b.caibx").exists()
    else:
        client.run(*arguments, source / "blob")
        client.run("extract", f"--store=far:{tmp_path}/s.castr", f"far:{tmp_path}/b.caibx", "out")
        assert (tmp_path / "out").read_bytes() == (source / "blob").read_bytes()


# Pulling


@pytest.mark.parametrize("index", ["here", "far", "other"])
@pytest.mark.parametrize("store", ["here", "far"])
def test_every_mix_of_here_and_there_is_pulled(
    client: Client, source: Path, tmp_path: Path, index: str, store: str
) -> None:
    host = {"here": "", "far": "far:", "other": "other:"}
    client.run("extract", f"--store={host[store]}{source}/default.castr", f"{host[index]}{source}/blob.caibx", "out")
    assert (tmp_path / "out").read_bytes() == (source / "blob").read_bytes()


def test_part_of_a_remote_tree(client: Client, source: Path, tmp_path: Path) -> None:
    """casync: Failed to seek."""
    index = f"far:{source}/tree.caidx"
    client.run("extract", index, "out", "dir/one")
    assert (tmp_path / "out/one").read_bytes() == (source / "tree/dir/one").read_bytes()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["one"]
    assert "dir/two" in client.run("list", index, "dir").stdout


def test_extra_stores_at_other_hosts(client: Client, source: Path, tmp_path: Path) -> None:
    """casync: Protocol driver not attached."""
    for name in ("a.castr", "b.castr"):
        shutil.copytree(source / "default.castr", tmp_path / name)
    for number, chunk_id in enumerate(sorted(set(index_ids(source / "blob.caibx")))):
        gone = tmp_path / ("a.castr" if number % 2 else "b.castr")
        (gone / chunk_id[:4] / f"{chunk_id}.cacnk").unlink()
    arguments = ("extract", f"--store=far:{tmp_path}/a.castr", source / "blob.caibx", "out")
    client.refused(*arguments, says="missing")
    client.run(*arguments[:2], f"--extra-store=other:{tmp_path}/b.castr", *arguments[2:])
    assert (tmp_path / "out").read_bytes() == (source / "blob").read_bytes()


def test_a_chunk_that_is_invalid_there_is_taken_from_elsewhere(client: Client, source: Path, tmp_path: Path) -> None:
    shutil.copytree(source / "default.castr", tmp_path / "bad.castr")
    one, other = sorted(set(index_ids(source / "blob.caibx")))[:2]
    path = tmp_path / f"bad.castr/{one[:4]}/{one}.cacnk"
    path.unlink()
    shutil.copy(tmp_path / f"bad.castr/{other[:4]}/{other}.cacnk", path)
    arguments = ("extract", f"--store=far:{tmp_path}/bad.castr", source / "blob.caibx", "out")
    if "CASYNC_REMOTE_PATH" in client.environment:  # casync's server reads each chunk that it sends, and ends there
        client.refused(*arguments, says="ended early")
        return
    client.refused(*arguments, says=one)
    assert not (tmp_path / "out").exists()
    client.run(*arguments[:2], f"--extra-store={source}/default.castr", *arguments[2:])
    assert (tmp_path / "out").read_bytes() == (source / "blob").read_bytes()


def test_what_is_not_there_is_named(client: Client, source: Path, tmp_path: Path) -> None:
    done = client.run("extract", f"far:{tmp_path}/absent.caibx", "out", status=1)
    assert "absent.caibx" in done.stderr
    done = client.run("list", f"far:{tmp_path}/absent.catar", status=1)
    assert "absent.catar" in done.stderr
    assert os.listdir(tmp_path) == []


# Names


NAMES = [
    "with space",
    "quote'",
    'double"',
    "$(touch created)",
    "`touch created`",
    "a;touch created",
    "back\\slash",
    "*",
    "ü",
]


@pytest.mark.parametrize("name", NAMES)
def test_names_never_become_shell_words(client: Client, source: Path, tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    client.run("make", f"--store=far:{folder}/s t.castr", f"far:{folder}/b.caibx", source / "blob")
    assert_pushed(source, folder / "b.caibx", folder / "s t.castr")
    client.run("extract", f"--store=far:{folder}/s t.castr", f"far:{folder}/b.caibx", "out")
    assert (tmp_path / "out").read_bytes() == (source / "blob").read_bytes()
    assert sorted(os.listdir(tmp_path)) == sorted([name, "out"])


@pytest.mark.parametrize("locator", ["-oProxyCommand=touch created:x.caibx", "ssh://-oProxyCommand=touch/x.caibx"])
def test_a_host_never_becomes_an_option(client: Client, tmp_path: Path, locator: str) -> None:
    done = client.run("list", "--", locator, status=1)
    assert done.stderr.count("\n") == 1
    assert os.listdir(tmp_path) == []


def test_relative_to_home(client: Client, source: Path, tmp_path: Path) -> None:
    """ssh starts in the home directory; casync's own server understands the same paths."""
    home = {"HOME": str(source)}
    for number, locator in enumerate(["far:blob.caibx", "ssh://far/~/blob.caibx", f"ssh://far{source}/blob.caibx"]):
        client.run("extract", locator, f"out{number}", env=home)
        assert (tmp_path / f"out{number}").read_bytes() == (source / "blob").read_bytes()


@pytest.mark.peer("sshd")
def test_urls_with_user_and_port(client: Client, source: Path, tmp_path: Path, sshd: Sshd) -> None:
    user = os.environ.get("USER") or subprocess.run(["id", "-un"], capture_output=True, text=True).stdout.strip()
    environment = {"CASYNC_SSH_PATH": str(sshd.ssh)}
    client.run("extract", f"ssh://{user}@localhost:{sshd.port}{source}/blob.caibx", "out", env=environment)
    assert (tmp_path / "out").read_bytes() == (source / "blob").read_bytes()
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    done = client.run("list", f"ssh://localhost:{port}{source}/tree.caidx", status=1, env=environment)
    assert "refused" in done.stderr


# The remote program


def test_casync_is_found_where_it_is_alone(source: Path, tmp_path: Path, stand_in: Path, casync: str) -> None:
    """Nothing names the remote program; a notice says that casync runs there."""
    alone = tmp_path / "bin"
    alone.mkdir()
    for name in ("casync", "sh", "mktemp", "rm", "echo"):
        found = shutil.which(name)
        assert found
        (alone / name).symlink_to(found)
    work = tmp_path / "work"
    work.mkdir()
    client = Client({"CASYNC_SSH_PATH": str(stand_in), "PATH": str(alone), "HOME": str(tmp_path)}, work)
    done = client.run("extract", f"far:{source}/blob.caibx", "out")
    assert (work / "out").read_bytes() == (source / "blob").read_bytes()
    assert "casync" in done.stderr
    assert done.stderr.count("\n") == 1
    client.run("make", f"--store=far:{work}/s.castr", "b.caibx", source / "blob")
    assert_pushed(source, work / "b.caibx", work / "s.castr")


def test_nothing_is_found(source: Path, tmp_path: Path, stand_in: Path) -> None:
    empty = tmp_path / "bin"
    empty.mkdir()
    (empty / "sh").symlink_to("/bin/sh")
    client = Client({"CASYNC_SSH_PATH": str(stand_in), "PATH": str(empty), "HOME": str(tmp_path)}, tmp_path)
    assert "installed" in client.run("list", f"far:{source}/tree.caidx", status=1).stderr


def test_an_ssh_that_fails(client: Client, source: Path, tmp_path: Path) -> None:
    absent = client.run("list", "far:x.caidx", status=1, env={"CASYNC_SSH_PATH": "/nonexistent/ssh"})
    assert "/nonexistent/ssh" in absent.stderr
    assert absent.stderr.count("\n") == 1
    banner = write_script(tmp_path / "banner", "#!/bin/sh\necho 'Welcome to far'\nexec cat >/dev/null\n")
    done = client.run("list", "far:x.caidx", status=1, env={"CASYNC_SSH_PATH": str(banner)})
    assert "far" in done.stderr


def test_verbose_says_what_the_peer_is(client: Client, source: Path) -> None:
    verbose = client.run("-v", "list", f"far:{source}/tree.caidx").stderr
    assert "readable-store" in verbose
    assert ("casync-py" in verbose) == ("CASYNC_REMOTE_PATH" not in client.environment)
