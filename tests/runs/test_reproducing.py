"""A proof repeated from its record alone."""

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
from optuna.storages import RDBStorage
from recording import add_seed

from search import reproduce, verdict
from search.config import RECIPE, AugmentConfig, ModelConfig, TrialConfig, config_from_dict
from search.data import Split
from search.model import ALL_VIEWS, TinyCNN, save_model
from search.reproduce import Record, RecordError
from search.train import Runtime, evaluate

SPACE = "0123456789abcdef"
CONFIG = TrialConfig(
    model=ModelConfig(channels=((2,), (3,), (4,))), augment=AugmentConfig(), lr=0.02, weight_decay=0.01
)


@pytest.fixture
def write_record(tmp_path: Path) -> Callable[..., Path]:
    """Writes the record of a proof over three seeds, with what is given changed; returns its folder."""

    def write(**changes: Any) -> Path:
        seeds = [{"seed": seed, "test_accuracy": 99.5, "errors": 50} for seed in (10_000, 10_001, 10_002)]
        made_with = {"device": "cpu", "precision": "fp32", "versions": {"torch": "2.14.1"}}
        facts = {
            **made_with, "num_images": 10_000,
            "study_name": "small", "trial": 2, "dataset": "sample", "epochs": 2, "num_params": CONFIG.model.num_params,
            "channels": [[2], [3], [4]], "config": dataclasses.asdict(CONFIG), "recipe": RECIPE, "space": SPACE,
            "seeds": seeds, "mean": 99.5, "std": 0.05, "commit": "0123abc4567def89",
            "model": {"file": "seed.safetensors", "seed": 10_000},
        }  # fmt: skip
        (tmp_path / "verify.json").write_text(json.dumps(facts | changes))
        save_model(tmp_path / "seed.safetensors", TinyCNN(CONFIG.model), CONFIG.model, {})
        return tmp_path

    return write


@pytest.fixture
def record(write_record: Callable[..., Path]) -> Record:
    return reproduce.read_record(write_record(), SPACE)


def test_a_configuration_survives_its_way_through_a_record() -> None:
    assert config_from_dict(json.loads(json.dumps(dataclasses.asdict(CONFIG)))) == CONFIG


def test_a_record_names_its_configuration_and_its_model(record: Record, tmp_path: Path) -> None:
    assert record.config == CONFIG
    assert record.model_path == tmp_path / "seed.safetensors"


def test_a_record_without_a_model_has_none_to_check(write_record: Callable[..., Path], final_splits: Any) -> None:
    record = reproduce.read_record(write_record(model=None), SPACE)
    assert record.model_path is None
    assert reproduce.count_errors(record, final_splits[1]) is None


@pytest.mark.parametrize("changes", [{"space": "another"}, {"recipe": RECIPE - 1}], ids=["space", "recipe"])
def test_a_record_of_another_version_is_refused(write_record: Callable[..., Path], changes: dict[str, Any]) -> None:
    with pytest.raises(RecordError, match=r"another version .* \(at 0123abc4567d\)"):
        reproduce.read_record(write_record(**changes), SPACE)


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
        {"model": {"file": "seed.safetensors", "seed": 9}},
        {"mean": 99.6},
        {"mean": None},
        {"std": None},
        {"study_name": "../small"},
        {"dataset": "cifar10"},
        {"versions": None},
        {"trial": None},
        {"channels": None},
        {"num_images": 0},
    ],
    ids=lambda changes: str(changes),
)
def test_a_damaged_record_is_told(write_record: Callable[..., Path], changes: dict[str, Any]) -> None:
    with pytest.raises(RecordError, match=r"verify\.json is damaged"):
        reproduce.read_record(write_record(**changes), SPACE)


def test_a_record_may_be_named_itself(record: Record, tmp_path: Path) -> None:
    path = (tmp_path / "verify.json").rename(tmp_path / "verify-2.json")
    assert reproduce.read_record(path, SPACE) == record


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"config": {}}, "it has no 'model'"), ({"seeds": 7}, "a value is of the wrong kind"), ({"mean": 99.6}, "mean")],
)
def test_the_damage_is_told_in_words(write_record: Callable[..., Path], changes: dict[str, Any], words: str) -> None:
    with pytest.raises(RecordError, match=re.escape(f"is damaged ({words})")):
        reproduce.read_record(write_record(**changes), SPACE)


def test_a_record_cut_off_in_the_middle_is_told(write_record: Callable[..., Path]) -> None:
    path = write_record() / "verify.json"
    path.write_text(path.read_text()[:100])
    with pytest.raises(RecordError, match=r"verify\.json is damaged .* Restore it"):
        reproduce.read_record(path.parent, SPACE)


def test_the_recorded_model_is_measured_again(record: Record, final_splits: tuple[Split, Split], cpu: Runtime) -> None:
    assert record.model_path is not None
    test = final_splits[1].select(torch.arange(100))
    model = TinyCNN(CONFIG.model).eval()
    save_model(record.model_path, model, CONFIG.model, {})
    assert reproduce.count_errors(record, test) == evaluate(model, test, cpu, ALL_VIEWS).errors


@pytest.mark.parametrize(("content", "words"), [(None, "is missing"), (b"damaged", "is not a model")])
def test_a_model_file_that_cannot_be_used_is_told(
    record: Record, final_splits: tuple[Split, Split], content: bytes | None, words: str
) -> None:
    assert record.model_path is not None
    record.model_path.unlink()
    if content is not None:
        record.model_path.write_bytes(content)
    with pytest.raises(RecordError, match=f"{words}.*Restore it"):
        reproduce.count_errors(record, final_splits[1])


def test_each_configuration_is_repeated_in_a_study_of_its_own(
    storage: RDBStorage, record: Record, write_record: Callable[..., Path]
) -> None:
    study = reproduce.open_reproduction_study(storage, record)
    assert re.fullmatch(r"small-reproduce-2-[0-9a-f]{6}", study.study_name)
    assert study.user_attrs["kind"] == "reproduce"
    assert reproduce.open_reproduction_study(storage, record).study_name == study.study_name
    config = dataclasses.asdict(dataclasses.replace(CONFIG, lr=0.5))
    other = reproduce.read_record(write_record(config=config), SPACE)
    assert reproduce.open_reproduction_study(storage, other).study_name != study.study_name


def repeat(*seeds: int) -> list[optuna.trial.FrozenTrial]:
    """These seeds, of 60 errors each, as a worker records them."""
    study = optuna.create_study(direction="maximize")
    for seed in seeds:
        add_seed(study, seed)
    return study.get_trials()


def test_recorded_seeds_are_compared_error_by_error(record: Record, write_record: Callable[..., Path]) -> None:
    facts = reproduce.compare(record, repeat(10_000), 50)
    assert (facts["identical"], facts["reproduced"]) == (False, True)  # 60, recorded 50, which is within the spread
    assert any(line.startswith("Not identical") for line in verdict.agreement(facts))
    seeds = [{"seed": 10_000, "test_accuracy": 99.4, "errors": 60}]
    same = reproduce.read_record(write_record(seeds=seeds, mean=99.4, std=None), SPACE)
    one_off = [{"seed": 10_000, "test_accuracy": 99.41, "errors": 59}]
    other = reproduce.read_record(write_record(seeds=one_off, mean=99.41, std=None), SPACE)
    facts = reproduce.compare(other, repeat(10_000), 59)
    assert (facts["identical"], facts["within_spread"], facts["reproduced"]) == (False, None, None)  # no spread
    assert reproduce.compare(other, repeat(20_000), None)["reproduced"] is None
    assert reproduce.compare(other, repeat(20_000), 59)["reproduced"] is None  # the file alone repeats nothing
    assert reproduce.compare(other, repeat(20_000), 58)["reproduced"] is False
    facts = reproduce.compare(same, repeat(10_000), 60)
    assert (facts["identical"], facts["within_spread"]) == (True, None)  # of one seed there is no spread
    assert facts["reproduced"] is True
    assert verdict.agreement(facts)[:2] == [
        "The recorded model makes 60 errors, as recorded.",
        "IDENTICAL: every recorded seed that was repeated makes the recorded number of errors.",
    ]


def test_a_model_that_errs_otherwise_than_recorded_is_told(record: Record) -> None:
    facts = reproduce.compare(record, repeat(20_000), 51)
    assert verdict.agreement(facts)[0] == "The recorded model makes 51 errors, not as recorded (50)."
    assert facts["reproduced"] is False
    assert verdict.reproduction_verdict(facts).startswith("NOT REPRODUCED")
    on_gpu = dataclasses.replace(record, facts=record.facts | {"device": "cuda"})  # rounds otherwise
    assert reproduce.compare(on_gpu, repeat(20_000), 51)["reproduced"] is True


def test_repeated_seeds_that_agree_leave_the_others_to_be_judged(write_record: Callable[..., Path]) -> None:
    seeds = [{"seed": 10_000, "errors": 60}, {"seed": 10_001, "errors": 40}]
    record = reproduce.read_record(write_record(seeds=seeds, std=0.0001), SPACE)
    facts = reproduce.compare(record, repeat(10_000), None)
    assert (facts["identical"], facts["num_judged"], facts["reproduced"]) == (True, 0, True)
    facts = reproduce.compare(record, repeat(10_000, 20_000), None)
    assert (facts["identical"], facts["num_judged"], facts["within_spread"]) == (True, 1, False)
    assert facts["reproduced"] is False


def test_runs_of_an_earlier_command_are_told(record: Record) -> None:
    facts = reproduce.compare(record, repeat(10_000, 10_001), None, num_earlier=1)
    assert verdict.agreement(facts)[0].endswith("and not again: 1 of 2.")


def test_a_reproduction_names_what_it_and_the_record_were_made_with(record: Record) -> None:
    *_, recorded, repeated = verdict.agreement(reproduce.compare(record, repeat(20_000), None))
    assert recorded == "Recorded: cpu in fp32, torch 2.14.1, commit 0123abc4567def89."
    assert repeated == "Repeated: cpu in fp32, python 3.12.3, torch 2.14.1, commit 0123abc."


def test_other_seeds_are_compared_by_the_spread(record: Record) -> None:
    facts = reproduce.compare(record, repeat(20_000, 20_001), None)
    assert facts["identical"] is None
    assert facts["mean"] == pytest.approx(99.4)
    # t(0.975, 2 degrees of freedom) = 4.303; 4.303 * 0.05 * sqrt(1/3 + 1/2)
    assert facts["margin"] == pytest.approx(0.1964, abs=1e-4)
    assert facts["within_spread"] is True
    assert verdict.agreement(facts)[0] == (
        "The mean of 2 seeds, 99.400 %, lies within the recorded 99.500 ± 0.196 % "
        "(95 % prediction interval for so many)."
    )
    far = dataclasses.replace(record, facts=record.facts | {"mean": 99.7})
    facts = reproduce.compare(far, repeat(20_000, 20_001), None)
    assert (facts["within_spread"], facts["reproduced"]) == (False, False)
    assert "LIES OUTSIDE" in verdict.agreement(facts)[0]
