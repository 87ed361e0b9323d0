"""Numbers of ioctls, as the kernel's headers compute them (asm-generic/ioctl.h)."""

from __future__ import annotations

import platform

# Processors whose kernels number the directions of ioctls in their own way (asm/ioctl.h).
_OTHER_DIRECTIONS = platform.machine().startswith(("alpha", "mips", "ppc", "powerpc", "sparc"))


def ioctl_number(write: bool, letter: str, number: int, size: int) -> int:
    """The number of an ioctl that reads from the kernel, or writes to it, an argument of `size` bytes."""
    direction = (4 if write else 2) << 29 if _OTHER_DIRECTIONS else (1 if write else 2) << 30
    return direction | size << 16 | ord(letter) << 8 | number
