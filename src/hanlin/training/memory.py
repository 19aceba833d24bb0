"""What a step of training frees is kept for the next one, which needs as much again."""

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt(3)
_LARGEST = 32 << 20  # glibc takes no higher threshold for blocks of its heap


def keep_freed_memory() -> None:
    """Have glibc hold on to freed memory for the rest of the process; elsewhere nothing is done.

    It gives what is free at the end of its heap back to the system, after which the next step gets
    it page by page, each cleared anew: some 30,000 pages a step of 2048 tokens of a small model.
    """
    if sys.platform != "linux":
        return
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return  # another C library, with habits of its own
    mallopt(_MMAP_THRESHOLD, _LARGEST)
    mallopt(_TRIM_THRESHOLD, 2**31 - 1)
