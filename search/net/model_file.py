"""A network's file: weights, architecture, and where they come from."""

from pathlib import Path

from pydantic import TypeAdapter
from safetensors.torch import save

from ..config import ModelConfig
from ..files import write_atomically
from .model import TinyCNN
from .model_origin import checksum, opened

_ARCHITECTURE = TypeAdapter(ModelConfig)


def save_model(path: Path, model: TinyCNN, config: ModelConfig, origin: str) -> None:
    """Writes weights, network and origin to one safetensors file, atomically: whole or not at all.

    Args:
        origin: JSON that says where the weights come from and what they reach (`search.proof.summaries.ModelOrigin`).
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    metadata = {"model": _ARCHITECTURE.dump_json(config).decode(), "record": origin}
    metadata["sha256"] = checksum(save(tensors))  # safetensors itself notices a file cut short, but no changed byte
    write_atomically(path, save(tensors, metadata=metadata))


def load_model(path: str | Path) -> TinyCNN:
    """The saved network, ready to classify: in evaluation mode, on the CPU.

    Raises:
        ValueError: If the file is not one that `save_model` wrote.
    """
    with opened(path, "pt") as (metadata, tensors):
        model = TinyCNN(_ARCHITECTURE.validate_json(metadata["model"], extra="forbid"))
        model.load_state_dict(tensors)
    return model.eval().requires_grad_(False)
