"""A network's file: weights, architecture, and where they come from."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from search.config import ModelConfig
from search.files import check_regular, write_atomically
from search.net.model import TinyCNN

LARGEST_FILE = 2**24  # bytes; of the largest network it is 0.4 MB

_ARCHITECTURE = TypeAdapter(ModelConfig)


def save_model(path: Path, model: TinyCNN, config: ModelConfig, origin: str) -> None:
    """Writes weights, network and origin to one safetensors file, atomically: whole or not at all.

    Args:
        origin: JSON that says where the weights come from and what they reach (`search.proof.records.ModelOrigin`).
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    metadata = {"model": _ARCHITECTURE.dump_json(config).decode(), "record": origin}
    write_atomically(path, save(tensors, metadata=metadata))


def load_model(path: str | Path) -> TinyCNN:
    """The saved network, ready to classify: in evaluation mode, on the CPU.

    Raises:
        ValueError: If the file is not one that `save_model` wrote.
    """
    with _opened(path) as (metadata, tensors):
        model = TinyCNN(_ARCHITECTURE.validate_json(metadata["model"], extra="forbid"))
        model.load_state_dict(tensors)
    return model.eval().requires_grad_(False)


def read_origin(path: str | Path) -> str:
    """The JSON that was stored beside the weights.

    Raises:
        ValueError: If the file is not one that `save_model` wrote.
    """
    with _opened(path) as (metadata, _):
        return metadata["record"]


@contextlib.contextmanager
def _opened(path: str | Path) -> Iterator[tuple[dict[str, str], dict[str, Tensor]]]:
    """Metadata and tensors; whatever they lack or get wrong inside the `with` is the file's fault."""
    try:
        check_regular(Path(path), limit=LARGEST_FILE)
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is not a dict)
            yield file.metadata() or {}, tensors
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror or error}).") from error
    except (SafetensorError, ValidationError, KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path} is not a model saved by this version of the tool ({reason}).") from error
