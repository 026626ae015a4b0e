"""Compiles the kernels, once on each machine and for each version of them."""

import hashlib
import os
import platform
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numba
from llvmlite.binding import get_host_cpu_features, get_host_cpu_name

_config: Any = numba.config
SOURCES = ("jit.py", "vectors.py", "kernels.py", "../config.py")  # numba would see changes of one of them alone
# A division by zero gives what PyTorch gives, and nobody has to look out for it.
helper: Any = numba.njit(error_model="numpy")


@cache
def cache_folder() -> Path | None:
    """Where compiled kernels are kept: below the user's cache folder, and of this copy of these sources alone.

    None where there is no such folder, or nothing can be written to it.
    """
    here = Path(__file__).parent
    digest = hashlib.sha256(f"{numba.__version__} {__name__} {here}".encode())
    for name in SOURCES:
        digest.update((here / name).read_bytes())
    try:
        folder = _user_cache() / "tiny-mnist-search" / digest.hexdigest()[:16]
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # RuntimeError: of a user without a home
        return None
    return folder if os.access(folder, os.W_OK) else None


def _user_cache() -> Path:
    if folder := os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA"):
        return Path(folder)
    return Path("~/Library/Caches" if sys.platform == "darwin" else "~/.cache").expanduser()


def stamp() -> Path | None:
    """A file that is there once all kernels are compiled for this CPU and this Python."""
    folder = cache_folder()
    machine = get_host_cpu_name() + get_host_cpu_features().flatten() + platform.python_version()
    return folder and folder / f"{hashlib.sha256(machine.encode()).hexdigest()[:16]}.ready"


def kernel(function: Callable[..., Any]) -> Any:
    """Compiles a function at its first call, and keeps what comes of it if there is a place to.

    In no other place: numba would look there for changes of one file alone.
    """
    folder = cache_folder()
    configured = _config.CACHE_DIR
    _config.CACHE_DIR = str(folder or "")  # read when a function is wrapped; what else uses numba keeps its own
    try:
        return numba.njit(cache=folder is not None, nogil=True, error_model="numpy")(function)
    finally:
        _config.CACHE_DIR = configured
