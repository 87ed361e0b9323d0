"""A command that gets a signal while it runs, at an instant that a seed chooses."""

from __future__ import annotations

import signal
import subprocess
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Mapping, Sequence
    from pathlib import Path

LIMIT_S = 30.0  # a hang is what is looked for: far above what a busy machine makes of a second


def interrupted(
    command: Sequence[str], folder: Path, rng: random.Random, environment: Mapping[str, str] | None = None
) -> None:
    """Run a command of casync-py and signal it; it may have been faster.

    Raises:
        AssertionError: it failed, or said something else than that it was interrupted.
        subprocess.TimeoutExpired: it did not end.
    """
    client = subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        time.sleep(rng.uniform(0.05, 1.2))
        client.send_signal(rng.choice([signal.SIGINT, signal.SIGTERM]))
        _, said = client.communicate(timeout=LIMIT_S)
    finally:
        client.kill()
        client.wait()
    # A server may have a word to say too, on the same stderr. Until Python has come so far as to handle signals, they
    # do what they always do.
    early = client.returncode in {-signal.SIGINT, -signal.SIGTERM} or "KeyboardInterrupt" in said
    assert client.returncode == 0 or early or "casync-py: Interrupted\n" in said, said
