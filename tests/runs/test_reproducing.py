"""A proof repeated from its record alone."""

import dataclasses
import json
import re
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
from commands import assert_refused, run
from evidence import CONFIG, ON_THE_SAMPLE, changed, make_proof
from optuna.storages import RDBStorage
from pydantic import ValidationError
from training import shorten

from search.config import RECIPE, REPEATED_BY_PYTORCH, ModelConfig
from search.net.crops import ALL_CROPS
from search.net.data import Split
from search.net.device import Runtime
from search.net.model import TinyCNN
from search.net.model_file import save_model
from search.net.train import evaluate
from search.proof.evidence import Proof
from search.proof.ledger import Ledger, Look, entries_of, parse_lines
from search.proof.parts import RecordError
from search.proof.reproduction import Reproduction
from search.proof.summaries import ModelOrigin
from search.runs.looks import LEDGER_FILE
from search.runs.reproducing import (
    RecordedProof,
    count_errors,
    open_reproduction_study,
    read_proof,
    refuse_other_recipe,
)
from search.settings import AUTO
from search.show.screen import QuietScreen
from search.studies.kinds import Kind
from search.studies.space import Space
from search.studies.study import StoredStudy

KEPT = {"file": "seed.safetensors", "seed": 10_000, "errors": 5, "errors_one_view": 14}
TINY = dataclasses.replace(CONFIG, model=ModelConfig(channels=((2,), (3,), (4,))))


@pytest.fixture
def proof(the_space: Space) -> Proof:
    """Of three seeds."""
    return make_proof(
        [5, 4, 6],
        **ON_THE_SAMPLE,
        trial=2,
        epochs=2,
        config=TINY,
        recipe=RECIPE,
        space=the_space.hash,
        device="cpu",
        precision="fp32",
        commit="0123abc4567def89",
        model=KEPT,
    )


def origin_of(proof: Proof, **changes: Any) -> str:
    """What the file of a proof's kept model says of itself, with what is given changed."""
    assert proof.model is not None
    origin = {
        "study_name": "small-verify-2",
        "trial": None,
        "seed": proof.model.seed,
        "test_accuracy": 100 * (proof.num_images - proof.model.errors) / proof.num_images,
        "num_params": proof.num_params,
        "epochs": proof.epochs,
        "dataset": proof.dataset,
        "precision": "fp32",
        "commit": proof.commit,
        "config": proof.config,
    }
    return ModelOrigin.model_validate(origin | changes).model_dump_json()


@pytest.fixture
def read(tmp_path: Path, proof: Proof, the_space: Space) -> Callable[..., RecordedProof]:
    """Reads the proof, beside a model that nobody trained, after some values were changed in its file."""

    def read(**changes: Any) -> RecordedProof:
        (tmp_path / "verify.json").write_text(json.dumps(json.loads(proof.to_json()) | changes), encoding="utf-8")
        save_model(tmp_path / "seed.safetensors", TinyCNN(TINY.model), TINY.model, origin_of(proof))
        return read_proof(tmp_path)

    return read


@pytest.fixture
def recorded(read: Callable[..., RecordedProof]) -> RecordedProof:
    return read()


def test_a_configuration_survives_its_way_through_a_record(recorded: RecordedProof, proof: Proof) -> None:
    assert recorded.proof == proof
    assert recorded.proof.config == TINY


def test_a_record_names_its_model(recorded: RecordedProof, tmp_path: Path) -> None:
    assert recorded.model_path == tmp_path / "seed.safetensors"


def test_a_model_outside_of_the_folder_is_not_opened(read: Callable[..., RecordedProof], tmp_path: Path) -> None:
    with pytest.raises((RecordError, ValidationError), match="is no file in the record's folder"):
        read(model=KEPT | {"file": "../../elsewhere.safetensors"})


def test_a_record_without_a_model_has_none_to_check(
    read: Callable[..., RecordedProof], final_splits: tuple[Split, Split]
) -> None:
    recorded = read(model=None)
    assert recorded.model_path is None
    assert count_errors(recorded, final_splits[1], QuietScreen()) is None


@pytest.mark.parametrize("recipe", [RECIPE + 1, min(REPEATED_BY_PYTORCH) - 1])
def test_a_record_of_another_recipe_is_refused(read: Callable[..., RecordedProof], recipe: int) -> None:
    with pytest.raises(RecordError, match=rf"\(at 0123abc4567d; recipe {recipe}, now {RECIPE}\)"):
        refuse_other_recipe(read(recipe=recipe))
    refuse_other_recipe(read())


@pytest.mark.parametrize(
    ("recorded_in", "asked", "refused"),
    [("fp32", AUTO, False), ("fp32", "fp32", False), ("fp32", "bf16", True), ("bf16", AUTO, True)],
)
def test_a_record_of_a_recipe_that_rounds_otherwise_is_repeated_in_fp32(
    read: Callable[..., RecordedProof], recorded_in: str, asked: str, refused: bool
) -> None:
    older = read(recipe=max(REPEATED_BY_PYTORCH), precision=recorded_in)
    told = "in fp32 alone. Leave --precision out" if recorded_in == "fp32" else "another version of this tool"
    with pytest.raises(RecordError, match=told) if refused else nullcontext():
        refuse_other_recipe(older, asked)


def test_a_record_of_another_search_space_is_read_for_its_configuration_says_all(
    read: Callable[..., RecordedProof],
) -> None:
    assert read(space="another").proof.config == TINY


@pytest.mark.parametrize(
    "changes",
    [
        {"config": {}},
        {"config": {"model": {}, "augment": {}}},
        {"seeds": []},
        {"seeds": [{}]},
        {"seeds": 7},
        {"num_params": 7},
        {"model": {}},
        {"model": KEPT | {"seed": 9}},
        {"model": KEPT | {"errors": 6}},
        {"mean": 99.6},
        {"mean": None},
        {"std": None},
        {"study_name": "../small"},
        {"versions": None},
        {"trial": None},
        {"channels": None},
        {"num_images": 0},
    ],
    ids=str,
)
def test_a_damaged_record_is_told(read: Callable[..., RecordedProof], changes: dict[str, Any]) -> None:
    with pytest.raises(RecordError, match=r"verify\.json is damaged"):
        read(**changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"config": {}}, "it has no 'config.model'"),
        ({"seeds": 7}, "seeds: Input should be a valid array"),
        ({"mean": 99.6}, "mean is 99.6, but the rest of the record gives 99.5"),
    ],
)
def test_the_damage_is_told_in_words(read: Callable[..., RecordedProof], changes: dict[str, Any], words: str) -> None:
    with pytest.raises(RecordError, match=re.escape(f"is damaged ({words})")):
        read(**changes)


def test_a_record_may_be_named_itself(recorded: RecordedProof, tmp_path: Path, the_space: Space) -> None:
    path = (tmp_path / "verify.json").rename(tmp_path / "verify-2.json")
    named = read_proof(path)
    assert (named.proof, named.model_path, named.path) == (recorded.proof, recorded.model_path, path)


def test_a_record_cut_off_in_the_middle_is_told(recorded: RecordedProof, tmp_path: Path, the_space: Space) -> None:
    path = tmp_path / "verify.json"
    path.write_text(path.read_text(encoding="utf-8")[:100], encoding="utf-8")
    with pytest.raises(RecordError, match=r"verify\.json is damaged .* Restore it"):
        read_proof(tmp_path)


# Its model


def test_the_recorded_model_is_measured_again(
    recorded: RecordedProof, final_splits: tuple[Split, Split], cpu: Runtime
) -> None:
    assert recorded.model_path is not None
    test = final_splits[1].select(torch.arange(0, 1_000, 10))
    model = TinyCNN(TINY.model).eval()
    save_model(recorded.model_path, model, TINY.model, origin_of(recorded.proof))
    assert count_errors(recorded, test, QuietScreen()) == evaluate(model, test, cpu, ALL_CROPS).errors


@pytest.mark.parametrize(("content", "words"), [(None, "is missing"), (b"damaged", "is not a model")])
def test_a_model_file_that_cannot_be_used_is_told(
    recorded: RecordedProof, final_splits: tuple[Split, Split], content: bytes | None, words: str
) -> None:
    assert recorded.model_path is not None
    recorded.model_path.unlink()
    if content is not None:
        recorded.model_path.write_bytes(content)
    with pytest.raises(RecordError, match=f"{words}.*Restore it"):
        count_errors(recorded, final_splits[1], QuietScreen())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seed": 7}, "is the model of another run (of seed 7, 246 parameters), and not that of seed"),
        ({"epochs": 3}, "is the model of another run"),
        ({"config": dataclasses.replace(TINY, lr=0.5)}, "is the model of another run"),
        ({"test_accuracy": 99.9}, "says that it reached 99.9 %"),
        ({"test_accuracy": None}, "says that it reached None %"),
    ],
    ids=str,
)
def test_a_model_in_the_place_of_the_recorded_one_is_told(
    recorded: RecordedProof, final_splits: tuple[Split, Split], changes: dict[str, Any], words: str
) -> None:
    assert recorded.model_path is not None
    save_model(recorded.model_path, TinyCNN(TINY.model), TINY.model, origin_of(recorded.proof, **changes))
    with pytest.raises(RecordError, match=f"{re.escape(words)}.*Restore it"):
        count_errors(recorded, final_splits[1], QuietScreen())


# Its study


def test_each_configuration_is_repeated_in_a_study_of_its_own(storage: RDBStorage, proof: Proof) -> None:
    stored = open_reproduction_study(storage, proof)
    assert re.fullmatch(r"small-reproduce-2-[0-9a-f]{6}", stored.name)
    assert stored.kind == Kind.REPRODUCE
    facts = stored.facts
    assert (facts.reproduces, facts.trial, facts.dataset, facts.epochs) == ("small", 2, "sample", 2)
    assert (facts.num_params, facts.channels) == (proof.num_params, proof.channels)
    assert open_reproduction_study(storage, proof).name == stored.name
    other = changed(proof, config=dataclasses.replace(TINY, lr=0.5))
    assert open_reproduction_study(storage, other).name != stored.name


# The command


@pytest.mark.parametrize("option", [["--trial", "3"], ["--target", "99"], ["--study-name", "small"]], ids=" ".join)
def test_what_a_record_says_is_not_said_again(option: list[str], places: list[str], tmp_path: Path) -> None:
    assert_refused(run("reproduce", tmp_path, *option, *places), 2, "No such option", option[0])


def test_a_folder_without_a_record_is_named(places: list[str], tmp_path: Path) -> None:
    assert_refused(run("reproduce", tmp_path / "nowhere", *places), 1, "verify.json is missing", "results/reference")
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_data_set_is_told_before_anything_starts(proof: Proof, places: list[str], tmp_path: Path) -> None:
    changed(proof, dataset="cifar10").write(tmp_path / "proof" / "verify.json")
    assert_refused(run("reproduce", tmp_path / "proof", *places), 1, "no data set 'cifar10'", "mnist, sample")
    assert [path.name for path in tmp_path.iterdir()] == ["proof"]


def test_a_damaged_record_is_told_before_anything_starts(places: list[str], tmp_path: Path) -> None:
    path = tmp_path / "verify.json"
    path.write_text("{")
    assert_refused(run("reproduce", tmp_path, *places), 1, f"{path} is damaged (it is not JSON). Restore it.")
    assert list(tmp_path.iterdir()) == [path]


def test_a_recorded_proof_is_repeated_to_the_last_error(
    search_study: StoredStudy, places: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shorten(search_study, monkeypatch)
    here = ["--workers", "0", "--json"]
    proved = run("verify-best", "--seeds", "1", "--first-seed", "12000", *here, *places)
    assert proved.exit_code == 0, proved.stderr
    folder = tmp_path / "results" / "small"
    elsewhere = ["--storage", f"{places[1]}.repeated", "--results-dir", tmp_path / "repeated"]
    result = run("reproduce", folder, "--seeds", "2", *here, *elsewhere)
    assert result.exit_code == 0, result.stderr
    found = Reproduction.model_validate_json(result.stdout)
    assert found.identical is True
    assert [row.seed for row in found.seeds] == [12_000, 12_001]
    assert found.seeds[0].errors == found.seeds[0].recorded_errors
    assert found.seeds[1].recorded_errors is None
    assert found.model_errors == found.recorded_model_errors == found.seeds[0].errors
    [written] = (tmp_path / "repeated").glob("*/reproduce.json")
    assert Reproduction.read(written) == found
    # Each run is on record as a look at the proof's configuration, in the reproduction's own folder.
    entries = parse_lines(written.with_name(LEDGER_FILE).read_bytes(), "here")
    assert Ledger.joined(entries, *map(entries_of, found.tested)).entries == tuple(entries)
    assert [entry.seed for entry in entries if isinstance(entry, Look)] == [12_000, 12_001]
    assert {entry.subject.key for entry in entries} == {Proof.read(folder / "verify.json").subject.key}
    assert found.num_earlier == 0
    again = run("reproduce", folder, "--seeds", "2", *elsewhere)  # all is there: no worker starts
    assert again.stdout.splitlines()[-1].startswith("REPRODUCED")
    assert "Trained by an earlier command with this storage, and not again: 2 of 2." in again.stdout
    [model] = folder.glob("*.safetensors")
    model.write_bytes(b"damaged")
    assert_refused(run("reproduce", folder, "--seeds", "2", *elsewhere), 1, model.name, "Restore it")
    assert Reproduction.read(written) == found.model_copy(update={"num_earlier": 2})
    assert len(optuna.get_all_study_names(f"{places[1]}.repeated")) == 1
