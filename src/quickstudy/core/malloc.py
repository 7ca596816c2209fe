"""Memory that a process frees and asks for again at every step."""

import ctypes
import functools
import platform

_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8  # glibc's malloc.h


@functools.cache
def keep_freed_memory() -> bool:
    """Have the C library keep freed memory for this process instead of handing it back to the
    system; says whether it could.

    By default glibc gives large blocks back at once, and each new tensor is then mapped and zeroed
    page by page: for tensors of tens of megabytes that takes longer than to compute them
    (*measured*, docs/experiments/speed.md). Training calls this on a CPU. It holds until the
    process ends, whose memory then stays at its peak. Elsewhere than on glibc, nothing is done.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    return all(
        [
            libc.mallopt(_M_MMAP_MAX, 0),
            libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1),
            libc.mallopt(_M_ARENA_MAX, 1),
        ]
    )
