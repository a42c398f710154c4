"""Keeping freed memory for the next step.

A training step allocates the same large arrays again and again. By default the C library gives each of them back to the
operating system when it is freed, and the next one is mapped anew, zeroed and faulted in page by page, which took up to
a third of the step. With glibc two settings change that; elsewhere this does nothing.
"""

import ctypes
import sys

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # their numbers in malloc.h
LARGEST_MMAP_THRESHOLD = 32 << 20  # glibc takes no more
KEPT_BYTES = 512 << 20


def keep_freed_memory() -> bool:
    """Ask the allocator to keep up to 512 MiB of freed memory; answers whether it agreed."""
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl and others have none
    if mallopt is None:
        return False
    return bool(mallopt(MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD) and mallopt(TRIM_THRESHOLD, KEPT_BYTES))
