"""Records: they survive their way through a file, and whatever contradicts itself is refused."""

import json
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from evidence import (
    CONFIG,
    ON_THE_SAMPLE,
    OTHER_ATTEMPT,
    ask,
    make_ladder,
    make_proof,
    make_reproduction,
    make_rung,
    make_tested,
    measure,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from search.config import AugmentConfig, ModelConfig, TrialConfig
from search.net.model_origin import read_origin
from search.proof import ladder, parts, reproduction, summaries, tested
from search.proof.answers import Answers, Bin, Miss, SeedAnswers
from search.proof.estimates import accuracy, max_errors
from search.proof.evidence import Proof
from search.proof.frontier import Frontier, FrontierPoint
from search.proof.ladder import Ladder
from search.proof.parts import Record, RecordError
from search.proof.reproduction import Reproduction
from search.proof.summaries import ModelOrigin, StudySummary
from tools.schema import RECORDS

REFERENCE = Path(__file__).resolve().parent.parent.parent / "results" / "reference"

# Every type of record, drawn at random

counts = st.integers(0, 2**63 - 1)
percents = st.floats(0, 100)
numbers = st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(max_size=10)
versions = st.dictionaries(texts, texts, max_size=3)
channels = st.tuples(*[st.lists(st.integers(1, 30), min_size=1, max_size=3).map(tuple)] * 3)
configs = st.builds(
    TrialConfig,
    model=st.builds(ModelConfig, channels=channels, dropout=st.floats(0, 0.9), norm=st.booleans()),
    augment=st.builds(AugmentConfig, rotation=st.floats(0, 180), scale=st.floats(0, 0.9), shear=st.floats(0, 2)),
    lr=st.floats(1e-9, 1),
    weight_decay=st.floats(0, 1),
    batch_size=st.integers(2, 512),
)


@st.composite
def proofs(draw: st.DrawFn) -> Proof:
    num_images = draw(st.integers(1, 10**6))
    errors = draw(st.lists(st.integers(0, num_images), min_size=1, max_size=5))
    return make_proof(
        errors,
        first_seed=draw(st.integers(0, 2**31)),
        num_images=num_images,
        study_name=draw(st.from_regex("[A-Za-z0-9][A-Za-z0-9 -]{,20}", fullmatch=True)),
        chosen_by=draw(texts),
        config=draw(configs),
        target=draw(percents),
        judged=draw(st.booleans()),
        earlier_attempts=tuple(draw(st.lists(st.builds(make_tested, st.integers(0, 10_000)), max_size=3))),
        other_looks=tuple(draw(st.lists(st.builds(tested.OtherLooks, trial=counts, num_runs=counts), max_size=2))),
        versions=draw(versions),
    )


spreads = st.builds(parts.Spread, accuracies=st.lists(percents, max_size=4).map(tuple))
environments = st.builds(parts.Environment, versions=versions)
searched_trials = st.builds(
    summaries.SearchedTrial,
    number=counts,
    val_accuracy=percents,
    num_params=counts,
    channels=channels,
    params=st.dictionaries(texts, st.integers(-5, 5) | numbers | texts, max_size=4),
)
trial_counts = st.builds(summaries.TrialCounts, complete=counts, pruned=counts, failed=counts, interrupted=counts)
standings = st.builds(
    summaries.Standing,
    number=counts,
    searched_val_accuracy=percents,
    val_accuracies=st.lists(percents, min_size=1, max_size=3).map(tuple),
    num_params=counts,
    channels=channels,
)


earned = st.lists(st.tuples(percents, percents), min_size=1, max_size=4).map(
    lambda pairs: summaries.Earned(
        first=0,
        winner_val_accuracies=tuple(ours for ours, _ in pairs),
        first_val_accuracies=tuple(other for _, other in pairs),
    )
)


@st.composite
def points(draw: st.DrawFn) -> FrontierPoint:
    """A budget, with or without a winner and measured seeds."""
    proof = draw(st.none() | proofs())
    return draw(
        st.builds(
            FrontierPoint,
            max_params=counts,
            study_name=st.none() | st.just("small"),
            num_trials=counts,
            trial=st.none() | counts,
            num_params=st.none() | counts,
            channels=st.none() | channels,
            params=st.dictionaries(texts, st.booleans() | st.integers(-5, 5) | numbers | texts, max_size=4),
            earned=st.none() | earned,
            tested=st.just(proof.tested[0] if proof is not None else None),
            others=st.just(proof.tested[1:] if proof is not None else ()),
            tested_before=counts,
        )
    )


@st.composite
def answers(draw: st.DrawFn) -> Answers:
    """Of two bins, and of networks that miss some of ten digits a class."""
    probabilities = st.floats(0, 1)
    digits = st.tuples(st.integers(0, 99), st.permutations(range(10)), probabilities, probabilities)
    misses = st.lists(digits, max_size=3, unique_by=lambda drawn: drawn[0]).map(
        lambda drawn: [
            Miss(place=place, label=label, answer=answer, probability=sure, of_label=unsure)
            for place, (label, answer, *_), sure, unsure in drawn
        ]
    )
    rows = []
    for seed, missed in enumerate(draw(st.lists(misses, max_size=2))):
        num = draw(st.integers(len(missed), 100))
        unsure = Bin(num=num, num_right=num - len(missed), probability=draw(probabilities))
        sure = Bin(num=100 - num, num_right=100 - num, probability=draw(probabilities))
        rows.append(SeedAnswers(seed=seed, misses=tuple(missed), bins=(unsure, sure)))
    facts = {"study_name": "small", "trial": draw(counts), "dataset": draw(texts)}
    return Answers(num_by_label=(10,) * 10, edges=(0.5,), seeds=tuple(rows), **facts)


@st.composite
def drawn_rungs(draw: st.DrawFn, num_seeds: int) -> ladder.Rung:
    return draw(
        st.builds(
            ladder.Rung,
            config=configs,
            errors=st.tuples(*[counts] * num_seeds),
            errors_one_view=st.tuples(*[counts] * num_seeds),
            diverged=counts,
            test=spreads,
            test_one_view=spreads,
            train_one_view=spreads,
            by_hand=st.none() | st.builds(ladder.ByHand, train=percents, test=percents),
        )
    )


@st.composite
def ladders(draw: st.DrawFn) -> Ladder:
    num_seeds = draw(st.integers(1, 5))
    return draw(
        st.builds(
            Ladder,
            trial=counts,
            num_images=st.integers(1, 10**6),
            epochs=st.integers(1, 15),
            config=configs,
            dropout=percents,
            first_seed=counts,
            num_seeds=st.just(num_seeds),
            rungs=st.lists(drawn_rungs(num_seeds), max_size=3).map(tuple),
            versions=versions,
        )
    )


DRAWN: dict[type[Record], st.SearchStrategy[Record]] = {
    Proof: proofs(),
    Ladder: ladders(),
    Reproduction: st.builds(
        Reproduction,
        trial=counts,
        num_images=st.integers(1, 10**6),
        config=configs,
        epochs=counts,
        target=percents,
        seeds=st.lists(
            st.builds(
                reproduction.RepeatedSeed,
                seed=counts,
                test_accuracy=percents,
                errors=counts,
                errors_one_view=counts,
                recorded_errors=st.none() | counts,
            ),
            max_size=3,
        ).map(tuple),
        num_judged=counts,
        mean=st.none() | numbers,
        recorded_mean=numbers,
        margin=st.none() | numbers,
        model_errors=st.none() | counts,
        recorded_model_errors=st.none() | counts,
        num_earlier=counts,
        versions=versions,
        recorded_with=environments,
    ),
    StudySummary: st.builds(
        StudySummary,
        target=percents,
        settings=st.builds(
            summaries.SearchedWith,
            max_params=counts,
            epochs=counts,
            seed=st.none() | counts,
            recipe=counts,
            versions=st.none() | versions,
        ),
        trials=trial_counts,
        epochs=st.builds(summaries.EpochCounts, trained=counts, saved_by_pruning=counts),
        seconds=numbers,
        peak_memory_mb=st.none() | counts,
        winner=st.none() | searched_trials,
        best=st.none() | searched_trials,
        reranking=st.none()
        | st.builds(
            summaries.Reranking,
            winner=st.none() | counts,
            regression=st.none() | numbers,
            standings=st.lists(standings, max_size=2).map(tuple),
            tied=st.lists(counts, max_size=3).map(tuple),
            margin=st.none() | numbers,
            earned=st.none() | earned,
        ),
    ),
    Frontier: st.builds(
        Frontier,
        epochs=counts,
        target=percents,
        points=st.lists(points(), min_size=1, max_size=3, unique_by=lambda point: point.max_params).map(
            lambda found: tuple(sorted(found, key=lambda point: point.max_params))
        ),
    ),
    Answers: answers(),
    summaries.StorageStatus: st.builds(
        summaries.StorageStatus,
        studies=st.lists(
            st.builds(
                summaries.StudyRow,
                trials=trial_counts,
                running=counts,
                stale=st.lists(counts, max_size=3).map(tuple),
                best=st.none() | numbers,
                best_trial=st.none() | counts,
            ),
            max_size=3,
        ).map(tuple),
    ),
    ModelOrigin: st.builds(
        ModelOrigin,
        trial=st.none() | counts,
        seed=counts,
        num_params=counts,
        epochs=counts,
        val_accuracy=st.none() | percents,
        test_accuracy=st.none() | percents,
        versions=st.none() | versions,
        config=configs,
    ),
}
every_record = pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.__name__)


@every_record
@settings(max_examples=10)
@given(data=st.data())
def test_a_record_survives_its_way_through_a_file_exactly(
    kind: type[Record], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    record = data.draw(DRAWN[kind])
    path = tmp_path_factory.getbasetemp() / "folder" / f"{kind.__name__}.json"
    record.write(path)
    again = kind.read(path)
    assert again == record
    assert again.to_json() == record.to_json() == path.read_text(encoding="utf-8")


@every_record
@settings(max_examples=3)
@given(data=st.data())
def test_a_record_that_lacks_something_is_refused(
    kind: type[Record], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    values = json.loads(data.draw(DRAWN[kind]).to_json())
    path = tmp_path_factory.getbasetemp() / f"incomplete {kind.__name__}.json"
    required = [name for name, field in kind.model_fields.items() if field.is_required()]
    for name in required:
        path.write_text(json.dumps({key: value for key, value in values.items() if key != name}), encoding="utf-8")
        assert_refused(kind, path, f"is damaged (it has no {name!r}). Restore it.")


def assert_refused(kind: type[Record], path: Path, words: str) -> None:
    """In one line that says which file, and what is wrong."""
    with pytest.raises(RecordError) as refused:
        kind.read(path)
    message = str(refused.value)
    assert message.startswith(f"{path} ")
    assert words in message
    assert message.splitlines() == [message]


@pytest.fixture
def proof() -> Proof:
    """Three seeds, one of which misses, with all that a record can have."""
    return make_proof(
        [60, 58, 61],
        asked=(ask(20_000, 5, 99.3), ask(10_000, 3)),
        seeds=(measure(10_000, 60), measure(10_001, 58, 57), measure(10_002, 61)),
        earlier_attempts=(OTHER_ATTEMPT,),
        other_looks=({"command": "ablate", "study_name": "small", "trial": 31, "num_runs": 18},),
        model={"file": "verify-31-seed-10000.safetensors", "seed": 10_000, "errors": 60, "errors_one_view": 69},
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "verify.json"


def write(path: Path, proof: Proof, **changes: Any) -> None:
    """The file of a proof, with some values changed in it."""
    path.write_text(json.dumps(json.loads(proof.to_json()) | changes), encoding="utf-8")


# What follows from the rest


def others(value: Any) -> Iterator[Any]:
    """Values like this one, but other ones."""
    if isinstance(value, bool):
        yield from (not value, None)
    elif isinstance(value, int):
        yield from (value + 1, value - 1, None)
    elif isinstance(value, float):
        yield from (value + 0.001, value - 0.001, float("nan"), str(value), None)
    elif isinstance(value, list):
        yield from (value[:-1], [*value, value[0]], None)
        yield from (
            [*value[:place], other, *value[place + 1 :]]
            for place in range(len(value))
            for other in others(value[place])
        )
    elif isinstance(value, dict):
        yield from ({}, None)
        yield from (value | {key: other} for key in value for other in others(value[key]))
    else:
        yield from (0.05, False, [99.0, 100.0])


@pytest.mark.parametrize("name", Proof.model_computed_fields)
def test_a_proof_whose_conclusions_were_changed_is_refused(name: str, proof: Proof, path: Path) -> None:
    for true_one in (proof, make_proof([60]), make_proof([0, 0], **ON_THE_SAMPLE)):
        write(path, true_one)
        assert Proof.read(path) == true_one
        recorded = json.loads(path.read_text(encoding="utf-8"))[name]
        for other in others(recorded):
            write(path, true_one, **{name: other})
            assert_refused(Proof, path, f"is damaged ({name} is ")


@pytest.mark.parametrize("name", Proof.model_computed_fields)
def test_a_conclusion_need_not_be_on_record(name: str, proof: Proof, path: Path) -> None:
    values = json.loads(proof.to_json())
    del values[name]
    path.write_text(json.dumps(values), encoding="utf-8")
    assert Proof.read(path) == proof


def test_a_conclusion_that_was_rounded_by_other_libraries_is_accepted(proof: Proof, path: Path) -> None:
    write(path, proof, mean=proof.mean + 1e-12, ci95=[each - 1e-12 for each in proof.ci95 or ()])
    assert Proof.read(path) == proof


def test_conclusions_in_the_parts_of_a_record_are_checked_too(path: Path) -> None:
    ladder = json.loads((REFERENCE / "ablation.json").read_text(encoding="utf-8"))
    for part, name in (("test", "mean"), ("test_one_view", "std")):
        rung = ladder["rungs"][1]
        changed = rung | {part: rung[part] | {name: 0.5}}
        path.write_text(json.dumps(ladder | {"rungs": [ladder["rungs"][0], changed]}), encoding="utf-8")
        assert_refused(Ladder, path, f"is damaged (rungs.1.{part}: {name} is 0.5, but")
    summary = json.loads((REFERENCE / "summary.json").read_text(encoding="utf-8"))
    path.write_text(json.dumps(summary | {"trials": summary["trials"] | {"total": 7}}), encoding="utf-8")
    assert_refused(StudySummary, path, "is damaged (trials: total is 7, but")


# What is damaged

KEPT = {"file": "seed.safetensors", "seed": 10_000, "errors": 60, "errors_one_view": 69}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seeds": 7}, "seeds: Input should be"),
        ({"seeds": []}, "seeds: "),
        ({"seeds": [{}]}, "it has no 'seeds.0.command'"),
        ({"study_name": "../small"}, "study_name: it names a folder"),
        ({"study_name": "a/b"}, "study_name: it names a folder"),
        ({"asked": []}, "asked: "),
        ({"asked": [{}]}, "it has no 'asked.0.first_seed'"),
        ({"trial": -1}, "trial: "),
        ({"trial": None}, "trial: "),
        ({"epochs": 0}, "epochs: "),
        ({"num_images": 0}, "num_images: "),
        ({"num_views": -1}, "num_views: "),
        ({"versions": None}, "versions: "),
        ({"config": {}}, "it has no 'config.model'"),
        ({"config": {"model": {}, "augment": {}}}, "it has no 'config.model.channels'"),
        ({"model": {}}, "it has no 'model.file'"),
        ({"model": KEPT | {"seed": 9}}, "the kept model is of none of the seeds"),
        ({"model": KEPT | {"errors": 59}}, "the kept model is of none of the seeds"),
        ({"more": 1}, "more: "),
        ({"mean": "two\nlines"}, "mean is 'two\\nlines', but"),
    ],
    ids=str,
)
def test_a_value_that_cannot_be_is_named(changes: dict[str, Any], words: str, proof: Proof, path: Path) -> None:
    write(path, proof, **changes)
    assert_refused(Proof, path, f"is damaged ({words}")


OUTCOME = {"command": "reproduce", "errors": 57, "errors_one_view": 66}


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"seed": 10_005}, "the seeds are not in order"),
        ({"seed": 10_000}, "the seeds are not in order"),
        ({"seed": 9_999}, "the seeds are not in order"),
        ({"seed": -1}, "seeds.1.seed: "),
        ({"errors": -1}, "seeds.1.errors: "),
        ({"errors_one_view": -1}, "seeds.1.errors_one_view: "),
        ({"errors": 59}, "seed 10001: the test accuracy is not that of 59 errors"),
        ({"test_accuracy": 99.43}, "seed 10001: the test accuracy is not that of 58 errors"),
        ({"test_accuracy": float("nan")}, "seeds.1.test_accuracy: "),
        ({"errors": 10_001}, "seed 10001: more errors than test images"),
        ({"errors_one_view": 10_001}, "seed 10001: more errors than test images"),
        ({"others": [OUTCOME | {"errors": 59}]}, "seed 10001: its worst outcome has to count"),
        ({"others": [OUTCOME | {"errors": 10_001}]}, "seed 10001: more errors than test images"),
        ({"others": [OUTCOME | {"errors_one_view": 10_001}]}, "seed 10001: more errors than test images"),
        ({"others": [OUTCOME | {"command": "search"}]}, "seeds.1.others.0.command: "),
        ({"command": "search"}, "seeds.1.command: "),
    ],
    ids=str,
)
def test_a_seed_that_cannot_be_is_named(row: dict[str, Any], words: str, proof: Proof, path: Path) -> None:
    values = json.loads(proof.to_json())
    values["seeds"][1] |= row
    path.write_text(json.dumps(values), encoding="utf-8")
    assert_refused(Proof, path, "is damaged (")
    for name in Proof.model_computed_fields:  # without conclusions that it contradicts
        del values[name]
    path.write_text(json.dumps(values), encoding="utf-8")
    assert_refused(Proof, path, f"is damaged ({words}")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"lr": -1}, "config: Learning rate must be positive"),
        ({"lr": float("nan")}, "config.lr: "),
        ({"more": 1}, "config.more: "),
        ({"model": {"channels": [[1], [2]]}}, "config.model: Channels need 3 stages"),
    ],
    ids=str,
)
def test_a_configuration_that_cannot_be_is_named(changes: dict[str, Any], words: str, proof: Proof, path: Path) -> None:
    write(path, proof, config=json.loads(proof.to_json())["config"] | changes)
    assert_refused(Proof, path, f"is damaged ({words}")


def test_an_earlier_attempt_that_cannot_be_is_named(proof: Proof, path: Path) -> None:
    row = json.loads(OTHER_ATTEMPT.model_dump_json())
    for changes, words in (
        ({"min": 99.5}, ": min is 99.5, but"),
        ({"num_passed": 3}, ": num_passed is 3, but"),
        ({"target": 99.3}, ": target is 99.3, but"),
        ({"trial": -1}, ".trial: "),
        ({"num_images": -1}, ".num_images: "),
        ({"subject": row["subject"] | {"dataset": 7}}, ".subject.dataset: "),
    ):
        write(path, proof, earlier_attempts=[row | changes])
        assert_refused(Proof, path, f"is damaged (earlier_attempts.0{words}")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"target": float("nan")}, "asked.1.target: "),
        ({"target": float("inf")}, "asked.1.target: "),
        ({"target": 100.1}, "asked.1.target: "),
        ({"target": "high"}, "asked.1.target: "),
        ({"target": None}, "no target was asked for"),
        ({"first_seed": -1}, "asked.1.first_seed: "),
        ({"num_seeds": 0}, "asked.1.num_seeds: "),
        ({"num_seeds": 10**15}, "asked.1.num_seeds: "),
    ],
    ids=str,
)
def test_seeds_that_cannot_be_asked_for_are_named(
    changes: dict[str, Any], words: str, proof: Proof, path: Path
) -> None:
    values = json.loads(proof.to_json())
    values["asked"][1] |= changes
    for name in Proof.model_computed_fields:  # without conclusions that it contradicts
        del values[name]
    path.write_text(json.dumps(values), encoding="utf-8")
    assert_refused(Proof, path, f"is damaged ({words}")


def test_a_ladder_needs_the_errors_of_every_seed(path: Path) -> None:
    ladder = make_ladder(make_rung("plain", 99.1, 99.2))
    values = json.loads(ladder.to_json())
    for name in ("errors", "errors_one_view"):
        rung = values["rungs"][0] | {name: [80]}
        path.write_text(json.dumps(values | {"rungs": [rung]}), encoding="utf-8")
        assert_refused(Ladder, path, "is damaged (rung 'plain': there are not as many errors as seeds)")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "it is not JSON"),
        (b"{", "it is not JSON"),
        (b'{"schema_version": 2', "it is not JSON"),
        (b"\xff\xfe", "it is not JSON"),
        (b"[" * 100_000, "it is not JSON"),
        (b"[]", "Input should be an object"),
        (b"7", "Input should be an object"),
        (b"null", "Input should be an object"),
        (b"NaN", "Input should be an object"),
    ],
    ids=lambda value: str(value[:20]),
)
def test_what_is_no_record_is_refused(content: bytes, words: str, path: Path) -> None:
    path.write_bytes(content)
    assert_refused(Proof, path, f"is damaged ({words}). Restore it.")


def test_a_record_cut_off_in_the_middle_is_refused(proof: Proof, path: Path) -> None:
    path.write_text(proof.to_json()[:-100], encoding="utf-8")
    assert_refused(Proof, path, "is damaged (it is not JSON). Restore it.")


def test_a_record_of_another_version_of_the_tool_says_so(proof: Proof, path: Path) -> None:
    values = json.loads(proof.to_json())
    for other in (1, 3):
        path.write_text(json.dumps(values | {"schema_version": other}), encoding="utf-8")
        assert_refused(Proof, path, "was written by another version of this tool. Use that version, or move it away.")
    del values["schema_version"]
    path.write_text(json.dumps(values), encoding="utf-8")
    assert_refused(Proof, path, "was written by an earlier version of this tool. Use that version, or move it away.")
    for name in ("judged", "views", "model"):  # which earlier versions did not write
        del values[name]
    path.write_text(json.dumps(values), encoding="utf-8")
    assert_refused(Proof, path, "was written by an earlier version of this tool")


def test_a_record_that_is_not_there_is_no_damage(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Proof.read(path)


# What a proof says


@given(st.decimals(0, 100, places=6), st.integers(1, 1_000_000))
def test_the_bar_is_exact_for_every_target_of_six_decimals(target: Decimal, num_images: int) -> None:
    proof = make_proof([0], num_images=num_images, target=float(target))
    assert proof.max_errors == max_errors(target, num_images)


def test_confirmed_when_every_seed_reaches_the_target_exactly() -> None:
    proof = make_proof([60, 58, 60, 55, 60])
    assert (proof.confirmed, proof.num_passed) == (True, 5)


def test_one_error_too_many_in_one_seed_is_not_confirmed() -> None:
    assert make_proof([60, 58, 61, 55, 60]).confirmed is False


def test_a_mean_above_the_target_confirms_nothing() -> None:
    proof = make_proof([10, 10, 10, 10, 61])
    assert proof.mean > 99.7
    assert proof.confirmed is False


def test_a_seed_with_nothing_right_is_a_miss_like_any_other() -> None:
    proof = make_proof([60, 10_000, 60])  # as a diverged seed is recorded
    assert (proof.confirmed, proof.num_passed, proof.min) == (False, 2, 0.0)


@settings(max_examples=20)
@given(st.lists(st.integers(50, 70), min_size=1, max_size=6))
def test_the_verdict_is_that_of_the_worst_seed(errors: list[int]) -> None:
    proof = make_proof(errors)
    assert proof.confirmed is (max(errors) <= 60)
    assert proof.num_passed == sum(count <= 60 for count in errors)


def test_another_target_moves_the_bar() -> None:
    assert make_proof([50, 45], target=99.5).confirmed is True
    assert make_proof([50, 51], target=99.5).confirmed is False


def test_the_claim_cannot_be_judged_on_the_sample() -> None:
    assert make_proof([0, 0, 0], **ON_THE_SAMPLE).confirmed is None


def test_new_seeds_do_not_undo_a_seed_that_missed() -> None:
    rows = (measure(7, 61, command="reproduce"), measure(10_000, 60), measure(10_001, 58))
    proof = make_proof([60, 58], seeds=rows)
    assert (proof.confirmed, proof.num_passed, len(proof.seeds)) == (False, 2, 3)
    assert proof.pass_share_lower95 == make_proof([61, 60, 58]).pass_share_lower95
    assert make_proof([60, 58], seeds=(measure(7, 60, command="reproduce"), *rows[1:])).confirmed is True


def test_of_a_seed_that_was_measured_repeatedly_the_worst_counts() -> None:
    proof = make_proof([60, 58], seeds=(measure(10_000, 58, 61, 60), measure(10_001, 58)))
    assert (proof.confirmed, proof.num_passed, proof.min) == (False, 1, 99.39)
    assert [each.errors for each in proof.seeds[0].outcomes] == [61, 60, 58]


def test_of_equal_outcomes_that_of_the_proof_itself_is_named() -> None:
    outcomes = [
        tested.Outcome(command=command, errors=60, errors_one_view=69)
        for command in ("reproduce", "ablate", "verify-best")
    ]
    row = tested.MeasuredSeed.of(10_000, outcomes, 10_000)
    assert [each.command for each in row.outcomes] == ["verify-best", "ablate", "reproduce"]


def test_a_bar_is_not_lowered() -> None:
    proof = make_proof([50, 51], asked=(ask(10_000, 2, 99.5), ask(10_000, 2, 99.4)))
    assert (proof.target, proof.asked_target, proof.confirmed) == (99.5, 99.4, False)
    raised = make_proof([50, 51], asked=(ask(10_000, 2, 99.4), ask(10_000, 2, 99.5), ask(1, 1, None), ask(2, 1)))
    assert (raised.target, raised.asked_target, raised.confirmed) == (99.5, 99.4, False)


def test_what_was_planned_and_what_of_it_was_not_measured_is_counted() -> None:
    proof = make_proof([60, 58], asked=(ask(10_000, 20), ask(10_015, 10), ask(10_000, 2)))
    assert (proof.num_planned, proof.num_unmeasured, proof.first_seed) == (25, 23, 10_000)
    elsewhere = make_proof([60, 58], seeds=(measure(7, 60), measure(10_000, 60)))
    assert (elsewhere.num_planned, elsewhere.num_unmeasured) == (2, 1)  # seed 7 was not asked for


def test_every_attempt_counts() -> None:
    assert make_proof([60]).attempts == 1
    assert make_proof([60], earlier_attempts=(OTHER_ATTEMPT, OTHER_ATTEMPT)).attempts == 3


# What records know of the test images


def test_a_ladder_knows_each_rung_as_a_configuration_of_its_own() -> None:
    plain = replace(CONFIG, model=replace(CONFIG.model, norm=False))
    rungs = (
        make_rung("plain", 99.1).model_copy(update={"config": plain}),
        make_rung("all", 99.39).model_copy(update={"errors_one_view": (80,)}),
    )
    ladder = make_ladder(*rungs, first_seed=2**31)
    found = ladder.tested
    assert [each.subject for each in found] == [
        tested.Subject.of(config, dataset="mnist", epochs=15, recipe=4) for config in (plain, CONFIG)
    ]
    assert found[0].num_params == plain.model.num_params != found[1].num_params
    assert [each.asked for each in found] == [(), ()]
    [row] = found[1].seeds
    assert (row.seed, row.command, row.errors, row.errors_one_view) == (2**31, "ablate", 61, 80)
    assert found[1].environment == ladder.environment


def test_a_rung_that_diverged_is_a_miss() -> None:
    ladder = make_ladder(make_rung("all", 99.4, diverged=1))
    assert [row.errors for row in ladder.tested[0].seeds] == [60, 10_000]


def test_a_reproduction_knows_its_seeds_and_counts_those_that_miss_the_proofs_target() -> None:
    seeds = [
        {"seed": seed, "test_accuracy": 99.4, "errors": errors, "errors_one_view": 70, "recorded_errors": None}
        for seed, errors in ((20_000, 60), (20_001, 61), (20_002, 10_000))
    ]
    found = make_reproduction(seeds=seeds)
    assert found.num_missed == 2
    [known] = found.tested
    assert (known.subject, known.asked) == (make_proof([60]).subject, ())
    assert [(row.seed, row.command, row.errors, row.errors_one_view) for row in known.seeds] == [
        (20_000, "reproduce", 60, 70),
        (20_001, "reproduce", 61, 70),
        (20_002, "reproduce", 10_000, 70),
    ]
    assert known.environment == found.environment
    assert make_reproduction(seeds=seeds, target=99.39).num_missed == 1


# The reference's errors, and others: what they came to before records were types.
COMPUTED_BEFORE = [
    (
        [60, 58, 60, 55, 60], 99.4, True,
        {"max_errors": 60, "num_passed": 5, "min": 99.4, "mean": 99.41400000000002, "std": 0.021908902300205205,
         "ci95": (99.38679650477368, 99.44120349522635), "pass_share_lower95": 0.5492802716530591},
        (99.31, 99.324, 0.021908902300205205, (99.29679650477367, 99.35120349522633)),
    ),
    (
        [60, 58, 61, 55, 60], 99.4, False,
        {"max_errors": 60, "num_passed": 4, "min": 99.39, "mean": 99.412, "std": 0.02387467277262636,
         "ci95": (99.38235567834934, 99.44164432165067), "pass_share_lower95": 0.3425916819988624},
        (99.3, 99.322, 0.02387467277262636, (99.29235567834934, 99.35164432165067)),
    ),
    (
        [60, 10_000, 60], 99.4, False,
        {"max_errors": 60, "num_passed": 2, "min": 0.0, "mean": 66.26666666666667, "std": 57.38861675744881,
         "ci95": (0.0, 100.0), "pass_share_lower95": 0.13535036217158383},
        (0.0, 66.20666666666666, 57.33665523322174, (0.0, 100.0)),
    ),
    (
        [50, 45], 99.5, True,
        {"max_errors": 50, "num_passed": 2, "min": 99.5, "mean": 99.525, "std": 0.03535533905932537,
         "ci95": (99.20734488159566, 99.84265511840435), "pass_share_lower95": 0.22360679774999911},
        (99.41, 99.435, 0.03535533905932537, (99.11734488159566, 99.75265511840435)),
    ),
    (
        [61], 99.4, False,
        {"max_errors": 60, "num_passed": 0, "min": 99.39, "mean": 99.39, "std": None, "ci95": None,
         "pass_share_lower95": 0.0},
        (99.3, 99.3, None, None),
    ),
    (
        [30, 39, 36, 46, 50, 47, 38, 39, 38, 35, 36, 37, 40, 42, 43, 38, 40, 31, 38, 39], 99.4, True,
        {"max_errors": 60, "num_passed": 20, "min": 99.5, "mean": 99.60900000000001, "std": 0.048547318208766115,
         "ci95": (99.58627915568525, 99.63172084431477), "pass_share_lower95": 0.8608916593316244},
        (99.41, 99.519, 0.04854731820876556, (99.49627915568526, 99.54172084431475)),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("errors", "target", "confirmed", "numbers", "one_view"), COMPUTED_BEFORE)
def test_the_same_evidence_comes_to_what_it_came_to_before(
    errors: list[int],
    target: float,
    confirmed: bool,
    numbers: dict[str, Any],
    one_view: tuple[float, float, float | None, tuple[float, float] | None],
) -> None:
    proof = make_proof(errors, target=target)
    assert proof.confirmed is confirmed
    for name, before in numbers.items():
        assert getattr(proof, name) == pytest.approx(before, abs=1e-12), name
    found = proof.one_view
    for value, before in zip((found.min, found.mean, found.std, found.ci95), one_view, strict=True):
        assert value == pytest.approx(before, abs=1e-12)


# The files


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (StudySummary, "summary.json"),
        (Proof, "verify.json"),
        (Ladder, "ablation.json"),
        (Reproduction, "reproduce.json"),
    ],
)
def test_the_committed_records_can_be_read_and_have_what_they_would_have_today(kind: type[Record], name: str) -> None:
    path = REFERENCE / name
    record = kind.read(path)
    assert list(json.loads(record.to_json())) == list(json.loads(path.read_text(encoding="utf-8")))


def test_the_committed_models_say_where_they_come_from() -> None:
    paths = sorted(REFERENCE.glob("*.safetensors"))
    assert paths
    for path in paths:
        origin = ModelOrigin.model_validate_json(read_origin(path))
        assert origin.num_params == origin.config.model.num_params


def test_a_proof_has_the_keys_that_are_promised(proof: Proof) -> None:
    values = json.loads(proof.to_json())
    assert list(values) == [
        "schema_version", "dataset", "num_images", "device", "precision", "commit", "versions",
        "study_name", "trial", "chosen_by", "config", "recipe", "space", "epochs", "judged", "asked", "seeds",
        "num_views", "views", "earlier_attempts", "other_looks", "model",
        # what follows from these
        "target", "num_planned", "num_params", "channels", "max_errors", "num_passed", "min", "mean", "std", "ci95",
        "one_view", "pass_share_lower95", "attempts", "confirmed",
    ]  # fmt: skip
    assert list(values["asked"][0]) == ["first_seed", "num_seeds", "target", "chosen_by", "time", "commit"]
    assert values["seeds"][1] == {
        "command": "verify-best", "errors": 58, "errors_one_view": 67, "seed": 10_001, "test_accuracy": 99.42,
        "others": [{"command": "verify-best", "errors": 57, "errors_one_view": 66}],
    }  # fmt: skip
    assert list(values["earlier_attempts"][0]) == [
        "subject", "study_name", "trial", "num_params", "num_images", "asked", "seeds", "device", "precision", "commit",
        "versions", "target", "num_planned", "num_passed", "min", "mean",
    ]  # fmt: skip
    assert list(values["one_view"]) == ["min", "mean", "std", "ci95"]
    assert (values["num_params"], values["channels"]) == (7_893, [[8, 10], [12, 14], [15, 17]])
    assert (values["study_name"], values["trial"], values["target"]) == ("small", 31, 99.4)
    assert (values["commit"], values["versions"]) == (proof.commit, proof.versions)
    assert values["attempts"] == 2
    assert values["confirmed"] is False


def test_a_summary_has_the_keys_that_are_promised() -> None:
    trial = summaries.SearchedTrial(
        number=2, val_accuracy=98.5, num_params=7_893, channels=CONFIG.model.channels, params={"lr": 0.02, "depth": 2}
    )
    summary = StudySummary(
        study_name="small",
        storage="sqlite:///study.db",
        dataset="sample",
        judged=False,
        target=99.4,
        device=None,
        settings=summaries.SearchedWith(
            max_params=7_999, epochs=15, sampler=None, pruner=None, seed=None, split="0123", space="4567", recipe=4,
            commit=None, versions=None,
        ),
        trials=summaries.TrialCounts(complete=2, pruned=1, failed=1, interrupted=3),
        epochs=summaries.EpochCounts(trained=12, saved_by_pruning=3),
        seconds=1.5,
        peak_memory_mb=None,
        winner=None,
        best=trial,
        reranking=None,
        winner_model=None,
    )  # fmt: skip
    values = json.loads(summary.to_json())
    assert list(values) == [
        "schema_version", "study_name", "storage", "dataset", "judged", "target", "device", "settings", "trials",
        "epochs", "seconds", "peak_memory_mb", "winner", "best", "reranking", "winner_model",
        "winner_model_missing", "stalled",
    ]  # fmt: skip
    assert values["trials"] == {"complete": 2, "pruned": 1, "failed": 1, "interrupted": 3, "total": 3}
    assert values["epochs"] == {"trained": 12, "saved_by_pruning": 3}
    assert values["best"] == {
        "number": 2,
        "val_accuracy": 98.5,
        "num_params": 7_893,
        "channels": [[8, 10], [12, 14], [15, 17]],
        "blocks": ["dense", "dense", "dense"],
        "residual": False,
        "params": {"lr": 0.02, "depth": 2},
    }
    nothing_yet = json.loads(summary.model_copy(update={"best": None}).to_json())
    assert "best" in nothing_yet
    assert nothing_yet["best"] is None


def test_a_reread_proof_is_as_exact_as_what_was_measured(path: Path) -> None:
    proof = make_proof([1, 2, 3], num_images=7_777)
    proof.write(path)
    again = Proof.read(path)
    assert [row.test_accuracy for row in again.seeds] == [accuracy(errors, 7_777) for errors in (1, 2, 3)]
    assert (again.mean, again.std, again.ci95) == (proof.mean, proof.std, proof.ci95)
