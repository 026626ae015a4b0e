"""Compiles the kernels, once on each machine and for each version of them."""

from collections.abc import Callable
from typing import Any

import numba

from .kept import cache_folder

_config: Any = numba.config
# A division by zero gives what PyTorch gives, and nobody has to look out for it.
helper: Any = numba.njit(error_model="numpy")
# As `helper`, for what is large and called once: not compiled by itself before it is compiled as a part of a kernel.
large_helper: Any = numba.njit(error_model="numpy", inline="always")


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
