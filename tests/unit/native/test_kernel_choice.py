"""Which kernel runs: the environment variable, and what happens where the C module was not built."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import casync_py

PACKAGE = Path(casync_py.__file__).parent


def kernel_of(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if name != "CASYNC_PY_KERNEL"}
    return subprocess.run([sys.executable, "-c", code], env=env | environment, capture_output=True, text=True)


SHOW = "import casync_py.native as n; print(n.KERNEL, n.candidates(bytes(range(48)), 0x6B67DEC7).tolist())"


def test_twin_on_demand() -> None:
    path = os.pathsep.join(sys.path)
    assert kernel_of(SHOW, CASYNC_PY_KERNEL="python", PYTHONPATH=path).stdout == "python [48]\n"


@pytest.mark.native
def test_native_on_demand() -> None:
    path = os.pathsep.join(sys.path)
    assert kernel_of(SHOW, CASYNC_PY_KERNEL="native", PYTHONPATH=path).stdout == "native [48]\n"


def test_without_the_c_module(tmp_path: Path) -> None:
    shutil.copytree(PACKAGE / "native", tmp_path / "casync_py/native", ignore=shutil.ignore_patterns("*.so"))
    (tmp_path / "casync_py/__init__.py").touch()
    assert kernel_of(SHOW, PYTHONPATH=str(tmp_path)).stdout == "python [48]\n"
    refused = kernel_of(SHOW, PYTHONPATH=str(tmp_path), CASYNC_PY_KERNEL="native")
    assert refused.returncode == 1
    assert "No module named 'casync_py.native._native'" in refused.stderr
