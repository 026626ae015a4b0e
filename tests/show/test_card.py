"""The card of a proved model."""

import ast
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from evidence import CONFIG, ON_THE_SAMPLE, make_proof, measure

from search.config import ModelConfig
from search.net.crops import ALL_CROPS
from search.net.data import Split
from search.net.device import Runtime
from search.net.model import TinyCNN
from search.net.model_file import save_model
from search.net.train import evaluate
from search.proof.evidence import KeptModel, Proof
from search.show.card import model_card
from search.show.proof import evidence, verdict

KEPT = KeptModel(file="verify-31-seed-10000.safetensors", seed=10_000, errors=60, errors_one_view=69)
REFERENCE = Path(__file__).resolve().parent.parent.parent / "results" / "reference"


def test_the_card_says_what_the_network_is_and_how_it_was_made() -> None:
    card = model_card(make_proof([60, 58], model=KEPT))
    assert card.startswith("# verify-31-seed-10000.safetensors: a network of 7,893 parameters for mnist\n")
    for words in (
        "3 stages of 3x3 convolutions, 8,10 / 12,14 / 15,17 channels, dropout 0.05",
        "trial 31 of small, the one asked for (--trial).",
        "on all training images of data set mnist, epochs: 15, seed 10000; state after the last epoch",
        "lr 0.02, weight_decay 0.01, batch_size 64, average_horizon 0.085, final_augment 0.3.",
        "Augmentation, up to: rotation 10, shift 1.5, scale 0.1, shear 0.",
        "99.40 % (60 errors of 10,000) by the mean logits of 27 views: 3 sizes, 9 shifts of up to 1 pixel; 69 errors "
        "by one view alone",
        "its seed is the first that was asked for. No seed was picked by its result.",
    ):
        assert words in card


def test_the_card_tells_of_its_own_seed_not_of_another() -> None:
    other = KEPT.model_copy(update={"seed": 10_001, "errors": 58, "errors_one_view": 67})
    card = model_card(make_proof([60, 58], model=other))
    assert "99.42 % (58 errors of 10,000)" in card
    assert "seed 10001; state after" in card


def test_the_card_tells_what_its_own_model_makes_not_the_worst_of_its_seed() -> None:
    proof = make_proof([60], seeds=(measure(10_000, 60, 75), measure(20_000, 58)), model=KEPT)
    card = model_card(proof)
    assert "99.40 % (60 errors of 10,000)" in card
    assert "NOT CONFIRMED: 1 of 2 fresh seeds miss" in card


@pytest.mark.parametrize("changes", [{}, ON_THE_SAMPLE], ids=("judged", "not judged"))
def test_the_card_claims_no_more_than_the_proof(changes: dict[str, Any]) -> None:
    proof = make_proof([60, 7], model=KEPT, **changes)
    card = model_card(proof)
    assert verdict(proof) in card
    assert all(sentence in card for sentence in evidence(proof))


def test_the_card_uses_the_model_as_it_was_measured(
    tmp_path: Path, final_splits: tuple[Split, Split], cpu: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(CONFIG, model=ModelConfig(channels=((2,), (3,), (4,))))
    test = final_splits[1].select(torch.arange(0, 1_000, 10))
    model = TinyCNN(config.model).eval()
    save_model(tmp_path / KEPT.file, model, config.model, "{}")
    [snippet] = re.findall(
        r"```python\n(.*?)```", model_card(make_proof([60], model=KEPT, config=config, **ON_THE_SAMPLE)), re.DOTALL
    )
    monkeypatch.chdir(tmp_path)
    names: dict[str, torch.Tensor] = {"images": test.images}
    exec(snippet, names)
    assert (names["answers"] != test.labels).sum() == evaluate(model, test, cpu, ALL_CROPS).errors


def test_names_and_reasons_bring_no_markup_into_a_card() -> None:
    hostile = "x`|<script>alert(1)</script>"
    card = model_card(
        make_proof([60], model=KEPT.model_copy(update={"file": 'a"); import os #.safetensors'}), chosen_by=hostile)
    )
    assert "<script>" not in card
    assert "x\\`\\|&lt;script&gt;alert(1)&lt;/script&gt;." in card
    [snippet] = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    [line] = [line for line in snippet.splitlines() if line.startswith("model = ")]
    [call] = ast.parse(line).body
    assert isinstance(call, ast.Assign)
    assert isinstance(call.value, ast.Call)
    assert [ast.literal_eval(word) for word in call.value.args] == ['a"); import os #.safetensors']


def test_the_committed_card_is_that_of_the_committed_proof() -> None:
    proof = Proof.read(REFERENCE / "verify.json")
    assert proof.model is not None
    path = (REFERENCE / proof.model.file).with_suffix(".md")
    assert path.read_text(encoding="utf-8") == model_card(proof)
