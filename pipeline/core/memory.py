"""Returns free memory from the C library to the system."""

from __future__ import annotations

import ctypes


def release_free_memory() -> None:
    """Let glibc return free memory from anywhere in its heaps; do nothing with other C libraries.

    Large short-lived buffers between small long-lived ones leave holes, and glibc by itself returns only the end of a
    heap. The call takes about a millisecond.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
