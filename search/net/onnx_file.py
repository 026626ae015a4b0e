"""A network as an ONNX file that stands by itself: raw pixels go in, the probability of each class comes out."""

import contextlib
import io
import logging
import warnings
from pathlib import Path

import onnx
import torch

from ..config import IMAGE_SIZE
from ..files import write_atomically
from .classifier import Classifier
from .crops import Crops
from .datasets import Pixels
from .device import BACKENDS, undisturbed
from .model import TinyCNN

INPUT, OUTPUT = "pixels", "probabilities"


def save_onnx(path: Path, model: TinyCNN, pixels: Pixels, crops: Crops, description: str) -> None:
    """Writes the network, with these views inside, atomically.

    Args:
        description: Kept in the file, as its doc string.
    """
    example = torch.zeros(2, 1, IMAGE_SIZE, IMAGE_SIZE)
    level = logging.getLogger("torch.onnx").level
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), undisturbed():  # it tells of its steps
        BACKENDS.fp32_precision = "none"  # PyTorch 2.14 asks for an older flag meanwhile, which is not there beside it
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        try:
            program = torch.onnx.export(
                Classifier(model, pixels, crops, check=False).eval(),
                (example,),
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes=({0: torch.export.Dim("n")},),
                dynamo=True,
                verbose=False,
            )
        finally:
            logging.getLogger("torch.onnx").setLevel(level)
    assert program is not None
    exported = program.model_proto
    _strip(exported)
    exported.doc_string = description
    onnx.checker.check_model(exported)
    write_atomically(path, exported.SerializeToString())


def _strip(exported: onnx.ModelProto) -> None:
    """Leaves out where in our code each node comes from: that is most of the file."""
    del exported.metadata_props[:]
    graph = exported.graph
    for part in (graph, *graph.node, *graph.initializer, *graph.value_info, *graph.input, *graph.output):
        del part.metadata_props[:]
        part.doc_string = ""
