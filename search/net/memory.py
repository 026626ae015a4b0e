"""How much memory a process takes."""

import sys
from pathlib import Path


def peak_memory_mb() -> int:
    """The most memory that this process has held at once, in MB, pages shared with other processes included."""
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset / 1e6)
    if sys.platform == "linux":  # where getrusage would count what the process was forked from
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        peak = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(int(peak.split()[1]) * 1024 / 1e6)
    import resource

    unit = 1 if sys.platform == "darwin" else 1024  # bytes on macOS, kibibytes elsewhere
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6)
