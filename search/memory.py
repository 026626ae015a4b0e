"""How much memory a process takes."""

import sys


def peak_memory_mb() -> int:
    """The most memory that this process has held at once, in MB, pages shared with other processes included."""
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset / 1e6)
    import resource

    unit = 1 if sys.platform == "darwin" else 1024  # bytes on macOS, kibibytes elsewhere
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6)
