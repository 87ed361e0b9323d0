"""The direction of imports and the list of packages: the architecture document that cannot go stale."""

from __future__ import annotations

import ast
import os
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from casync_py import native

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
PACKAGE = "casync_py"

# A room imports from its own step and the steps before it.
STEPS = [
    {"errors", "ids", "digest", "compression", "options", "monitor", "files", "buffers", "amounts", "native"},
    {"format"},
    {"chunking"},
    {"archive", "store"},
    {"sync"},
    {"protocol"},
    {"transport"},
    {"peer"},
    {"remote"},
    {"api"},
    {"remotes"},
    {"cli"},
]
STEP_OF = {room: number for number, rooms in enumerate(STEPS) for room in rooms}
OUTSIDE_THE_STEPS = {
    "": {*STEP_OF} - {"cli"},  # casync_py itself resolves its public names lazily
    "__main__": {"cli"},
    "testing": {*STEP_OF, "testing"} - {"cli"},
}
TABLES_UPWARDS = ("casync_py.remote.open", "casync_py.remotes")  # two tables of strings, the one upward edge
PROTOCOL_SEES = STEPS[0] | STEPS[1] | {"protocol"}


def _sources() -> Iterator[tuple[str, Path]]:
    """Module name and file of each module, `remotes/` under the name it is installed as."""
    for top, prefix in ((ROOT / PACKAGE, PACKAGE), (ROOT / "remotes", f"{PACKAGE}.remotes")):
        for folder, folders, files in os.walk(top):  # does not follow the symlink casync_py/remotes
            folders[:] = [name for name in folders if name != "__pycache__"]
            for file in files:
                if file.endswith((".py", ".pyi")):
                    path = Path(folder, file)
                    parts = (prefix, *path.relative_to(top).with_suffix("").parts)
                    yield ".".join(parts).removesuffix(".__init__"), path


MODULES = sorted(_sources())
NAMES = {name for name, _path in MODULES}


def _room(module: str) -> str:
    return module.partition(".")[2].partition(".")[0]


def _imports(module: str, path: Path) -> Iterator[str]:
    """The modules of this package that a module imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} uses a relative import"
            base = node.module or ""
            found = [f"{base}.{alias.name}" if f"{base}.{alias.name}" in NAMES else base for alias in node.names]
        else:
            continue
        yield from (name for name in found if name.split(".")[0] == PACKAGE)


def _allowed(module: str, imported: str) -> bool:
    room, target = _room(module), _room(imported)
    if (module, imported) == TABLES_UPWARDS or target == "":
        return True
    if room in OUTSIDE_THE_STEPS:
        return target in OUTSIDE_THE_STEPS[room]
    if room == "protocol":
        return target in PROTOCOL_SEES
    if room == target == "remotes":
        return module.split(".")[2:3] == imported.split(".")[2:3] or imported == "casync_py.remotes"
    return STEP_OF.get(target, len(STEPS)) <= STEP_OF[room]


@pytest.mark.parametrize(("module", "path"), MODULES, ids=[name for name, _path in MODULES])
def test_imports_go_downwards(module: str, path: Path) -> None:
    assert _room(module) in {*STEP_OF, *OUTSIDE_THE_STEPS}, f"{module} is in no step of the design"
    wrong = sorted({imported for imported in _imports(module, path) if not _allowed(module, imported)})
    assert not wrong, f"{module} imports upwards: {', '.join(wrong)}"


def test_the_rule_catches_an_upward_import() -> None:
    assert not _allowed("casync_py.store.local", "casync_py.sync.make")
    assert not _allowed("casync_py.protocol.state", "casync_py.store.base")
    assert not _allowed("casync_py.sync.make", "casync_py.testing.strategies")
    assert not _allowed("casync_py.remotes.nbd.client", "casync_py.remotes.http.wire")
    assert _allowed("casync_py.remote.open", "casync_py.remotes")
    assert not _allowed("casync_py.remote.config", "casync_py.remotes")


def test_every_package_is_listed() -> None:
    """A package that pyproject.toml forgets is silently absent from the wheel."""
    tree = {name for name, path in MODULES if path.name == "__init__.py"}
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    assert sorted(listed) == sorted(tree)


@pytest.mark.skipif(os.environ.get("CASYNC_PY_REQUIRE_NATIVE") != "1", reason="CASYNC_PY_REQUIRE_NATIVE is not set")
def test_native_kernel_is_in_use_where_demanded() -> None:
    assert native.KERNEL == "native"
