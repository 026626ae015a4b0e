"""Where compiled kernels are kept. Knows nothing of numba itself, which takes half a second to load."""

import hashlib
import importlib.metadata
import os
import platform
import sys
from functools import cache
from pathlib import Path

from llvmlite.binding import get_host_cpu_features, get_host_cpu_name

from ...files import check_writable

# By itself numba would see changes of the file that a kernel is in alone.
SOURCES = (
    "jit.py", "layout.py", "vectors.py", "convolutions.py", "forwards.py", "backwards.py", "warping.py", "masks.py",
    "descent.py",
    "../../config.py",
)  # fmt: skip


@cache
def cache_folder() -> Path | None:
    """A folder below the user's cache folder, for this CPU, this Python, and these sources by this name of theirs.

    By itself numba would keep the code for different CPUs side by side, and mix up what two hosts keep there at once.
    None where nothing can be kept.
    """
    here = Path(__file__).parent
    machine = get_host_cpu_name() + get_host_cpu_features().flatten() + platform.python_version()
    digest = hashlib.sha256(f"{importlib.metadata.version('numba')} {__name__} {machine}".encode())
    for name in SOURCES:
        digest.update((here / name).read_bytes())
    try:
        folder = _user_cache() / "tiny-mnist-search" / digest.hexdigest()[:16]
        check_writable(folder)
    except (OSError, RuntimeError):  # RuntimeError: of a user without a home
        return None
    return folder


def _user_cache() -> Path:
    if folder := os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA"):
        return Path(folder)
    return Path("~/Library/Caches" if sys.platform == "darwin" else "~/.cache").expanduser()


def stamp() -> Path | None:
    """A file that is there once all kernels are compiled."""
    folder = cache_folder()
    return folder and folder / "ready"
