"""What the C library keeps of memory that was given back, returned to the system."""

from __future__ import annotations

import ctypes


def release_free_memory() -> None:
    """Have glibc return what is free anywhere in its heaps; other C libraries have no need or no way.

    Buffers that come and go beside small things that stay leave holes, which glibc by itself returns only at a heap's
    end. It takes about a millisecond.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
