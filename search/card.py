"""The card of a proved model: what it is, how it was made, how well it does, and how to use it."""

from typing import Any

from search import verdict


def model_card(facts: dict[str, Any]) -> str:
    """Markdown, from the record of a proof (`verify.json`) that has a model."""
    config, model = facts["config"], facts["model"]
    seed = next(each for each in facts["seeds"] if each["seed"] == model["seed"])
    channels = " / ".join(",".join(map(str, stage)) for stage in facts["channels"])
    augment = ", ".join(f"{name} {_round(strength)}" for name, strength in config["augment"].items())
    hyper = {key: value for key, value in config.items() if key not in ("model", "augment")}
    paragraphs = [
        f"# {model['file']}: a network of {facts['num_params']:,} parameters for MNIST",
        "\n".join(
            [
                f"- **Architecture**: three stages of 3x3 convolutions, {channels} channels, dropout "
                f"{_round(config['model']['dropout'])}; `TinyCNN` of `search/model.py` says the rest.",
                f"- **Which**: trial {facts['trial']} of {facts['study_name']}, {facts['chosen_by']}.",
                f"- **Trained**: on all training digits of data set {facts['dataset']}, epochs: {facts['epochs']}, "
                f"seed {model['seed']}; state after the last epoch. AdamW, one cycle of the learning rate, averaged "
                "weights: "
                + ", ".join(f"{name} {_round(value)}" for name, value in hyper.items())
                + f". Augmentation, up to: {augment}.",
                f"- **On the test digits**: {seed['test_accuracy']:.2f} % ({seed['errors']} errors of "
                f"{facts['num_images']:,}) by the mean logits of {facts['num_views']} views: three sizes, "
                f"shifted by up to a pixel; {seed['errors_one_view']} errors by one view alone.",
                f"- **Why this one**: its seed is the first of the {len(facts['seeds'])} below. No seed was picked "
                "by its result.",
                "- **Limits**: made for centred digits of 28x28 pixels like MNIST's, and measured on nothing else.",
            ]
        ),
        "## The claim",
        verdict.verdict(facts),
        "\n\n".join(verdict.evidence(facts)),
        "## Use",
        "\n".join(
            [
                "```python",
                "from search.data import normalise",
                "from search.model import ALL_VIEWS, load_model",
                "",
                f'model = load_model("{model["file"]}")',
                "digits = model(normalise(images), ALL_VIEWS).argmax(dim=1)  # images: uint8, n x 1 x 28 x 28",
                "```",
            ]
        ),
    ]
    return "\n\n".join(paragraphs) + "\n"


def _round(value: float) -> str:
    return f"{value:.4g}"
