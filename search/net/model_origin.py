"""What a network's file says of itself, read without loading a network: `status` is quick."""

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from ..files import read_regular

LARGEST_FILE = 2**24  # bytes; of the largest network it is 0.4 MB


def read_origin(path: str | Path) -> str:
    """The JSON that was stored beside the weights.

    Raises:
        ValueError: If the file is not one that `search.net.model_file.save_model` wrote, whole and undamaged.
    """
    with opened(path, "np") as (metadata, _):
        return metadata["record"]


def checksum(content: bytes) -> str:
    """Of the weights, in the bytes of a safetensors file: what follows its header, whose length comes first."""
    return hashlib.sha256(content[8 + int.from_bytes(content[:8], "little") :]).hexdigest()


@contextlib.contextmanager
def opened(path: str | Path, framework: str) -> Iterator[tuple[dict[str, str], dict[str, Any]]]:
    """Metadata and tensors; whatever they lack or get wrong inside the `with` is the file's fault."""
    try:
        content = read_regular(Path(path), limit=LARGEST_FILE)
        with safe_open(path, framework=framework) as file:
            metadata = file.metadata() or {}
            if metadata.get("sha256") not in (None, checksum(content)):  # files of before had none
                raise ValueError("its weights are not those that were saved")
            yield metadata, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is not a dict)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror or error}).") from error
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path} is not a model saved by this version of the tool ({reason}).") from error
