"""The card of a proved model: what it is, how it was made, how well it does, and how to use it."""

import json
from dataclasses import asdict, dataclass

from ..config import PACKAGE_NAMES
from ..proof.estimates import accuracy
from ..proof.evidence import KeptModel, Proof
from .proof import evidence, verdict
from .words import escape_markdown, format_network

_, INSTALLED = PACKAGE_NAMES  # by which a program anywhere has it, once it is set up


@dataclass(frozen=True, kw_only=True)
class Exported:
    """A file that a model was exported to.

    Attributes:
        views: Those inside an ONNX file, "all" or "1"; None for a file of weights, which leaves that to its user.
        size: In bytes.
        one_view_ms, all_views_ms: For one image, on one thread of a CPU, by PyTorch: the median.
    """

    file: str
    views: str | None
    size: int
    one_view_ms: float
    all_views_ms: float


def model_card(proof: Proof, exported: Exported | None = None) -> str:
    """Markdown, from a proof that has a model."""
    config, kept = proof.config, proof.model
    assert kept is not None
    name = exported.file if exported is not None else kept.file
    texts = (name, f"{proof.study_name}, {proof.chosen_by}", proof.dataset, proof.views)
    file, search, dataset, views = map(escape_markdown, texts)
    augment = ", ".join(f"{name} {value:.4g}" for name, value in asdict(config.augment).items())
    others = {name: value for name, value in asdict(config).items() if name not in ("model", "augment")}
    hyper = ", ".join(f"{name} {value:.4g}" for name, value in others.items())
    one_view = exported is not None and exported.views == "1"
    facts = [
        f"- **Architecture**: {len(config.model.channels)} stages of 3x3 convolutions, "
        f"{format_network(config.model)} channels, dropout {config.model.dropout:.4g}; `TinyCNN` of "
        "`search/net/model.py` says the rest.",
        f"- **Which**: trial {proof.trial} of {search}.",
        f"- **Trained**: on all training images of data set {dataset}, epochs: {proof.epochs}, seed {kept.seed}; "
        "state after the last epoch. AdamW, one cycle of the learning rate, averaged weights: "
        f"{hyper}. Augmentation, up to: {augment}.",
        f"- **On the test images**: {_reached(proof, kept, views, one_view=one_view)}",
        f"- **Why this one**: {_why(proof, kept)}",
        *(["- **The claim** below is that of all views; this file holds one."] if one_view else []),
        f"- **Limits**: made for images of 28x28 pixels like those of {dataset}, and measured on nothing else.",
    ]
    if exported is not None:
        facts.append(
            f"- **Size and speed**: {exported.size:,} bytes. One image on one thread of this machine, by PyTorch: "
            f"{exported.one_view_ms:.1f} ms by one view, {exported.all_views_ms:.1f} ms by all."
        )
    use = [
        "```python",
        f"from {INSTALLED}.net.crops import ALL_CROPS",
        f"from {INSTALLED}.net.data import normalise",
        f"from {INSTALLED}.net.datasets import dataset_row",
        f"from {INSTALLED}.net.model_file import load_model",
        "",
        f"model = load_model({json.dumps(name)})",
        f"pixels = dataset_row({json.dumps(proof.dataset)}).pixels",
        "inputs = normalise(images, pixels)  # images: uint8, n x 1 x 28 x 28",
        "answers = model(inputs, ALL_CROPS).argmax(dim=1)",
        "```",
    ]
    if exported is not None and exported.views is not None:
        use = _use_onnx(exported.file, exported.views)
    paragraphs = [
        f"# {file}: a network of {proof.num_params:,} parameters for {dataset}",
        "\n".join(facts),
        "## The claim",
        *map(escape_markdown, [verdict(proof), *evidence(proof)]),
        "## Use",
        "\n".join(use),
    ]
    return "\n\n".join(paragraphs) + "\n"


def _why(proof: Proof, kept: KeptModel) -> str:
    proofs = {asked.first_seed for asked in proof.asked}
    if kept.seed == proof.asked[0].first_seed:
        return "its seed is the first that was asked for. No seed was picked by its result."
    return f"its seed is the first of the latest of {len(proofs)} proofs of this network, with seeds of their own each."


def _reached(proof: Proof, kept: KeptModel, views: str, *, one_view: bool) -> str:
    """What the model reached, by what a file holds first."""
    by_all = f"by the mean logits of {views}"
    if one_view:
        reached = f"{accuracy(kept.errors_one_view, proof.num_images):.2f} % ({kept.errors_one_view} errors of "
        return f"{reached}{proof.num_images:,}) by the one view that is inside; {kept.errors} errors {by_all}."
    reached = f"{accuracy(kept.errors, proof.num_images):.2f} % ({kept.errors} errors of {proof.num_images:,})"
    return f"{reached} {by_all}; {kept.errors_one_view} errors by one view alone."


def _use_onnx(file: str, views: str) -> list[str]:
    inside = "one view is inside" if views == "1" else "the views are inside"
    return [
        "```python",
        "import onnxruntime",
        "",
        f"session = onnxruntime.InferenceSession({json.dumps(file)})",
        f"# pixels: float32, n x 1 x 28 x 28, from 0 (the ground) to 255 (ink); {inside}",
        '[probabilities] = session.run(None, {"pixels": pixels})',
        "```",
    ]
