"""What the tool takes for granted of Optuna, though Optuna does not promise it: a test here fails when it changes."""

import ast
import inspect
import json
import re
import sqlite3
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from fakes import BINDING, REFERENCE, draw, let_heartbeats_age, states
from optuna.artifacts import get_all_artifact_meta
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from optuna_dashboard import get_note, save_note, save_plotly_graph_object
from optuna_dashboard.artifact._backend import list_trial_artifacts
from plotly import graph_objects
from sqlalchemy import event

from search.studies import optuna_private
from search.studies.opening import open_search_study
from search.studies.optuna_private import (
    IDEMPOTENT,
    PRIVATE,
    GPSamplerOfAll,
    artifacts_of,
    find_silences,
    fixed_params,
    forget_artifacts,
    forget_cache,
    list_artifact,
    missing_parameter,
    plots_of,
    record_heartbeat,
    start_trial,
    writable,
)
from search.studies.study import StoredStudy

ROOT = Path(__file__).resolve().parent.parent.parent
PARAMS = {"depth": 5, "width": 1.25, "lr": 0.02}
ATTRIBUTES = {"ticket": 3, "owner": {"host": "here", "pid": 1, "started": 0.0}}
ENDED_OR_RUNNING = TrialState.COMPLETE, TrialState.RUNNING
PRIVATE_KEYS = {"fixed_params"}  # of system attributes


@pytest.fixture
def reader(storage: RDBStorage, tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """Another program that looks into the database."""
    connection = sqlite3.connect(tmp_path / "study.db")
    yield connection
    connection.close()


def test_a_trial_starts_with_its_parameters_ahead_of_all_that_is_queued(search: StoredStudy) -> None:
    trial = start_trial(search.study, PARAMS, ATTRIBUTES)
    assert states(search) == ["WAITING", "RUNNING"]
    assert trial.number == 1
    assert draw(trial) == PARAMS
    assert search.trials()[0].state == TrialState.WAITING  # still
    assert trial.user_attrs.items() >= ATTRIBUTES.items()
    search.study.tell(trial, 95.0)
    ended = search.trials()[1]
    assert (ended.value, ended.params) == (95.0, PARAMS)
    assert ended.datetime_start is not None


def test_a_started_trial_draws_what_it_was_not_given(search: StoredStudy) -> None:
    search.study.sampler = optuna.samplers.RandomSampler(seed=1)
    params = draw(start_trial(search.study, {"depth": 5}, {}))
    assert params["depth"] == 5
    assert params.keys() == PARAMS.keys()


def test_trial_parameters_and_attributes_come_into_being_in_one_transaction(
    search: StoredStudy, reader: sqlite3.Connection
) -> None:
    seen = set()

    def look(*_: Any) -> None:
        [trials] = reader.execute("SELECT count(*) FROM trials WHERE state = 'RUNNING'").fetchone()
        [attributes] = reader.execute("SELECT count(*) FROM trial_user_attributes").fetchone()
        [fixed] = reader.execute(
            "SELECT count(*) FROM trial_system_attributes JOIN trials USING (trial_id) WHERE state = 'RUNNING'"
        ).fetchone()
        seen.add((trials, attributes, fixed))

    event.listen(search.storage.engine, "begin", look)
    start_trial(search.study, PARAMS, ATTRIBUTES)
    look()
    assert seen == {(0, 0, 0), (1, len(ATTRIBUTES), 1)}


def test_the_parameters_that_a_trial_was_queued_or_started_with_are_known_before_it_draws(search: StoredStudy) -> None:
    start_trial(search.study, PARAMS, {})
    free = optuna.trial.create_trial(state=TrialState.RUNNING)
    assert [fixed_params(trial) for trial in (*search.trials(), free)] == [REFERENCE, PARAMS, None]


def test_what_was_queued_is_known_after_a_worker_has_taken_it(search: StoredStudy) -> None:
    search.storage.set_trial_state_values(search.trials()[0]._trial_id, TrialState.RUNNING)
    assert states(search) == ["RUNNING"]
    assert fixed_params(search.trials()[0]) == REFERENCE


def test_a_trial_that_was_read_can_be_written(search: StoredStudy) -> None:
    start_trial(search.study, PARAMS, {})
    read = search.trials()[1]
    writable(search.study, read).set_user_attr("epochs", 3)
    assert [trial.user_attrs for trial in search.trials()] == [{}, {"epochs": 3}]


def test_a_note_can_be_put_on_a_trial_that_has_ended(search: StoredStudy) -> None:
    for value in (95.0, 96.0):
        trial = start_trial(search.study, PARAMS, {})
        draw(trial)
        search.study.tell(trial, value)
    second = search.trials()[2]
    save_note(writable(search.study, second), "The best.")
    notes = [get_note(writable(search.study, trial)) for trial in search.trials()]
    assert notes == ["", "", "The best."]
    assert search.trials()[2].value == 96.0


ONE, TWO = (str(uuid.UUID(int=number)) for number in (1, 2))


def test_a_trial_that_has_ended_can_be_given_an_artifact(search: StoredStudy) -> None:
    search.study.add_trials([optuna.trial.create_trial(value=1.0), optuna.trial.create_trial(value=2.0)])
    *_, one, two = search.study.trials
    list_artifact(search.study, one.number, "model.safetensors", ONE)
    assert artifacts_of(search.study, one.number) == {"model.safetensors": ONE}
    assert artifacts_of(search.study, two.number) == artifacts_of(search.study, None) == {}
    attributes = search.storage.get_study_system_attrs(search.study._study_id)
    shown = list_trial_artifacts(attributes, {}, one)
    assert [(each["filename"], each["artifact_id"]) for each in shown] == [("model.safetensors", ONE)]
    list_artifact(search.study, None, "report.html", TWO)
    assert [each.filename for each in get_all_artifact_meta(search.study)] == ["report.html"]
    assert artifacts_of(search.study, None) == {"report.html": TWO}


@pytest.mark.parametrize(
    "value",
    [
        json.dumps({"filename": "report.html", "artifact_id": "../../important"}),
        json.dumps({"filename": "report.html", "artifact_id": "/important"}),
        json.dumps({"filename": "report.html", "artifact_id": None}),
        json.dumps({"filename": ["report.html"], "artifact_id": ONE}),
        json.dumps({"artifact_id": ONE}),
        json.dumps([ONE]),
        "{}",
        "{",
        7,
    ],
)
def test_what_somebody_has_written_there_is_no_artifact_and_names_no_file(search: StoredStudy, value: object) -> None:
    for key in ("artifacts:x", "dashboard:artifacts:1:../../important"):
        search.storage.set_study_system_attr(search.study._study_id, key, value)
    assert artifacts_of(search.study, None) == {}
    assert forget_artifacts(search.study, but=None) == []


def test_the_artifacts_of_all_trials_but_one_are_forgotten(search: StoredStudy) -> None:
    search.study.add_trials([optuna.trial.create_trial(value=1.0), optuna.trial.create_trial(value=2.0)])
    *_, one, two = search.study.trials
    list_artifact(search.study, one.number, "model.safetensors", ONE)
    list_artifact(search.study, two.number, "model.safetensors", TWO)
    assert forget_artifacts(search.study, but=two.number) == [ONE]
    assert artifacts_of(search.study, one.number) == {}
    assert artifacts_of(search.study, two.number) == {"model.safetensors": TWO}
    assert forget_artifacts(search.study, but=two.number) == []
    assert forget_artifacts(search.study, but=None) == [TWO]


def test_it_is_known_which_figures_the_dashboard_was_given(search: StoredStudy) -> None:
    assert plots_of(search.study) == set()
    for identifier in ("one-figure", "another"):
        save_plotly_graph_object(search.study, graph_objects.Figure(), graph_object_id=identifier)
    assert plots_of(search.study) == {"one-figure", "another"}


def test_a_heartbeat_is_on_record_and_renewed(search: StoredStudy, reader: sqlite3.Connection) -> None:
    trial = start_trial(search.study, PARAMS, {})
    beats = "SELECT number, heartbeat > datetime('now', '-1 minute') FROM trial_heartbeats JOIN trials USING (trial_id)"
    assert reader.execute(beats).fetchall() == []
    record_heartbeat(search.storage, trial)
    assert reader.execute(beats).fetchall() == [(trial.number, 1)]
    let_heartbeats_age(search.storage)
    assert reader.execute(beats).fetchall() == [(trial.number, 0)]
    record_heartbeat(search.storage, trial)
    assert reader.execute(beats).fetchall() == [(trial.number, 1)]


def test_it_is_known_how_long_running_trials_have_been_silent(search: StoredStudy) -> None:
    other = open_search_study(search.storage, "other", BINDING, REFERENCE)
    ended, silent, beating, never_beat = (start_trial(search.study, PARAMS, {}) for _ in range(4))
    of_another_study = start_trial(other.study, PARAMS, {})
    for trial in (ended, silent, beating, of_another_study):
        record_heartbeat(search.storage, trial)
    search.study.tell(ended, 90.0)
    let_heartbeats_age(search.storage, 250)
    record_heartbeat(search.storage, beating)
    silences = find_silences(search.storage, search.trials((TrialState.RUNNING,)))
    assert silences == {
        silent.number: pytest.approx(250, abs=10),
        beating.number: pytest.approx(0, abs=10),
    }
    assert never_beat.number not in silences


def private_names() -> set[str]:
    """The private attributes of Optuna's studies, trials and databases."""
    study = optuna.create_study()
    objects = [study, study.ask(), optuna.trial.create_trial(value=1.0), study.sampler, study.pruner]
    names = {name for each in objects for name in (*dir(each), *vars(each))}
    names |= set(dir(RDBStorage)) | {"system_attrs"}
    return {name for name in names if name == "system_attrs" or (name.startswith("_") and not name.endswith("__"))}


def private_uses(path: Path, private: set[str]) -> set[str]:
    """What a file takes from Optuna that is private: attributes (but its own classes'), keys and modules."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Attribute(value=ast.Name(id="self" | "cls")):
                pass
            case ast.Attribute(attr=name) if name in private:
                found.add(name)
            case ast.Constant(value=str(name)) if name in private | PRIVATE_KEYS:
                found.add(name)
            case ast.ImportFrom(module=str(module)) if module.partition(".")[0] == "optuna":
                found |= {name for name in (module, *(alias.name for alias in node.names)) if "._" in f".{name}"}
            case ast.Import(names=names):
                found |= {alias.name for alias in names if alias.name.startswith("optuna.") and "._" in alias.name}
    return found


def test_what_may_be_done_twice_is_all_that_a_study_asks_of_a_storage_but_for_what_comes_into_being() -> None:
    cached = inspect.getsource(type(optuna.storages.get_storage("sqlite://")))
    asked = set(re.findall(r"self\._backend\.(\w+)", cached)) - {"get_heartbeat_interval"}
    created = {"create_new_study", "_create_new_trial", "delete_study"}
    assert asked - set(IDEMPOTENT) <= {*created, "record_heartbeat", "get_heartbeat_stale_trial_callback"}
    assert created.isdisjoint(IDEMPOTENT)


def test_a_study_that_is_to_forget_reads_its_trials_anew(storage: RDBStorage) -> None:
    study = optuna.create_study(storage=storage)
    study.add_trial(optuna.trial.create_trial(value=1.0))
    assert len(study.trials) == 1
    with storage.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM trials")
    assert len(study.trials) == 1
    forget_cache(study, storage)
    assert study.trials == []


def test_what_is_private_to_optuna_is_used_in_one_module_alone() -> None:
    private = private_names()
    assert private >= {"_storage", "_study_id", "_trial_id"}
    files = [path for folder in ("search", "benchmarks", "tools") for path in sorted((ROOT / folder).rglob("*.py"))]
    uses = {path.relative_to(ROOT).as_posix(): private_uses(path, private) for path in (*files, *ROOT.glob("*.py"))}
    used = {path: names for path, names in uses.items() if names}
    assert used.keys() == {Path(optuna_private.__file__).relative_to(ROOT).as_posix()}, used
    assert used["search/studies/optuna_private.py"] == {
        *PRIVATE,
        "_storage",
        "_study_id",
        "_trial_id",
        "fixed_params",
        "system_attrs",
    }


# The sampler that learns from pruned trials


def a_study_that_is_mostly_pruned() -> optuna.Study:
    """Three complete trials about the best place, at 0.8, and twenty that were pruned elsewhere."""
    study = optuna.create_study(direction="maximize")
    distribution = optuna.distributions.FloatDistribution(0, 1)
    for place in (0.7, 0.75, 0.85):
        height = 99 - (place - 0.8) ** 2
        curve = {1: height - 3, 2: height - 1}
        study.add_trial(
            optuna.create_trial(
                params={"x": place}, distributions={"x": distribution}, value=height, intermediate_values=curve
            )
        )
    for index in range(20):
        place = 0.03 * index
        study.add_trial(
            optuna.create_trial(
                params={"x": place},
                distributions={"x": distribution},
                state=TrialState.PRUNED,
                intermediate_values={1: 96 - (place - 0.8) ** 2},
            )
        )
    return study


def places(sampler: optuna.samplers.BaseSampler) -> list[float]:
    study = a_study_that_is_mostly_pruned()
    study.sampler = sampler
    return [study.ask().suggest_float("x", 0, 1) for _ in range(6)]


def test_a_search_of_which_most_was_pruned_is_learnt_from() -> None:
    told = places(GPSamplerOfAll(seed=0))
    assert min(told) > 0.6  # where nothing was pruned
    assert min(places(optuna.samplers.GPSampler(seed=0))) < 0.5  # Optuna's own draws at random yet


def test_a_sampler_is_told_of_running_trials_and_of_the_study_that_this_one_was_begun_with(storage: RDBStorage) -> None:
    source = optuna.create_study(study_name="source", storage=storage, direction="maximize")
    study = optuna.create_study(study_name="new", storage=storage, direction="maximize")
    space = {"x": optuna.distributions.FloatDistribution(0, 1)}

    def add(to: optuna.Study, place: float, value: float) -> None:
        to.add_trial(optuna.create_trial(params={"x": place}, distributions=space, value=value))

    for place in (0.1, 0.2, 0.3):
        add(source, place, 98.0)
    add(study, 0.1, 99.0)
    add(source, 0.4, 99.9)  # when the new one had begun
    study.add_trial(optuna.create_trial(state=TrialState.RUNNING))

    def told() -> list[str]:
        optuna_private._ended_by.cache_clear()  # a worker reads it once
        seen = optuna_private._Taught(study, space)._get_trials(False, ENDED_OR_RUNNING, False)
        return [trial.state.name for trial in seen]

    assert told() == ["COMPLETE", "RUNNING"]
    study.set_user_attr("warm_start", "source")
    assert told() == [*["COMPLETE"] * 3, "RUNNING"]
    source.set_user_attr("split", "another")
    assert told() == ["COMPLETE", "RUNNING"]
    optuna.delete_study(study_name="source", storage=storage)
    assert told() == ["COMPLETE", "RUNNING"]


def test_a_pruner_compares_with_the_first_trial_and_with_what_was_drawn(storage: RDBStorage) -> None:
    study = optuna.create_study(storage=storage, direction="maximize")

    def add(*, given: bool = False, cut_off: bool = False, retry_of: int | None = None) -> None:
        study.add_trial(
            optuna.create_trial(
                state=TrialState.FAIL if cut_off else TrialState.COMPLETE,
                value=None if cut_off else 98.0,
                system_attrs={"fixed_params": {"lr": 0.1}} if given else {},
                user_attrs={"retry_of": retry_of} if retry_of is not None else {},
            )
        )

    add(given=True)  # 0: the first
    add(given=True)  # 1: as a warm start does
    add(given=True, cut_off=True)
    add(given=True, retry_of=2)
    add(cut_off=True)  # 4: drawn
    add(given=True, retry_of=4)
    add()
    seen = optuna_private._Drawn(study).get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    assert [trial.number for trial in seen] == [0, 5, 6]


def test_what_a_fixed_trial_lacks_is_known() -> None:
    trial = optuna.trial.FixedTrial({"x": 1.0})
    with pytest.raises(ValueError, match="is not found") as lacking:
        trial.suggest_float("lr's", 0, 1)
    assert missing_parameter(lacking.value) == "lr's"
    assert missing_parameter(ValueError("The value is not found")) is None
