"""Compiles the kernels, once on each machine and for each version of them."""

from collections.abc import Callable
from typing import Any

import numba
from numba.core.caching import UserProvidedCacheLocator

from .kept import cache_folder

_config: Any = numba.config
# A division by zero gives what PyTorch gives, and nobody has to look out for it.
helper: Any = numba.njit(error_model="numpy")
# As `helper`, for what is large and called once: not compiled by itself before it is compiled as a part of a kernel.
large_helper: Any = numba.njit(error_model="numpy", inline="always")


class OneFolder(UserProvidedCacheLocator):
    """Where numba keeps a kernel: in the folder of these sources, whichever copy of them it is.

    numba itself asks which file a kernel is in, and when that was changed. The folder is named after all of them.
    """

    def __init__(self, function: Callable[..., Any], path: str) -> None:
        super().__init__(function, path)  # type: ignore[no-untyped-call]
        self._cache_path = str(cache_folder())

    def get_source_stamp(self) -> str:
        return self._cache_path


def kernel(function: Callable[..., Any]) -> Any:
    """Compiles a function at its first call, and keeps what comes of it if there is a place to."""
    folder = cache_folder()
    configured = _config.CACHE_DIR, _config.CACHE_LOCATOR_CLASSES
    # Read when a function is wrapped; what else uses numba keeps its own.
    _config.CACHE_DIR, _config.CACHE_LOCATOR_CLASSES = str(folder or ""), f"{__name__}.{OneFolder.__name__}"
    try:
        return numba.njit(cache=folder is not None, nogil=True, error_model="numpy")(function)
    finally:
        _config.CACHE_DIR, _config.CACHE_LOCATOR_CLASSES = configured
