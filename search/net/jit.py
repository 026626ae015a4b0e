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
SOURCES = ("jit.py", "vectors.py", "kernels.py")  # numba would see changes of one of them alone


@cache
def cache_folder() -> Path:
    """Where compiled kernels are kept: below the user's cache folder, and of these sources alone."""
    digest = hashlib.sha256(f"{numba.__version__} {__name__}".encode())  # what is kept names the module it is from
    for name in SOURCES:
        digest.update(Path(__file__).with_name(name).read_bytes())
    return _user_cache() / "tiny-mnist-search" / digest.hexdigest()[:16]


def _user_cache() -> Path:
    if folder := os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA"):
        return Path(folder)
    return Path("~/Library/Caches" if sys.platform == "darwin" else "~/.cache").expanduser()


def stamp() -> Path:
    """A file that is there once all kernels are compiled for this CPU and this Python."""
    machine = get_host_cpu_name() + get_host_cpu_features().flatten() + platform.python_version()
    return cache_folder() / f"{hashlib.sha256(machine.encode()).hexdigest()[:16]}.ready"


def kernel(function: Callable[..., Any]) -> Any:
    """Compiles a function at its first call, and keeps what comes of it if there is a place to."""
    configured = _config.CACHE_DIR
    _config.CACHE_DIR = str(cache_folder())  # read when a function is wrapped; what else uses numba keeps its own
    try:
        return numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:  # "no locator available": no folder can be written to
        return numba.njit(nogil=True)(function)
    finally:
        _config.CACHE_DIR = configured
