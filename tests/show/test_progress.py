"""How far a study is: the live table, and a line per finished trial."""

import copy
import re
from collections.abc import Callable, Sequence
from typing import Any

import optuna
import pytest
from optuna.distributions import IntDistribution
from optuna.storages import RDBStorage
from optuna.trial import TrialState, create_trial
from recording import add_runs, open_reranking
from showing import shown, widest

from search.runs.reranking import runs_of
from search.runs.standings import leading_trials
from search.runs.testing import LARGEST_SEED
from search.show.progress import StudyProgress, describe_trial
from search.show.screen import Stage, Work
from search.show.words import format_network
from search.studies.facts import StudyFacts, TrialFacts
from search.studies.kinds import KINDS, Kind
from search.studies.optuna_private import writable
from search.studies.plan import DrawnPlan, GivenPlan, Plan
from search.studies.study import StoredStudy

RERANKING = Stage(name="re-ranking", num_runs=10)
WIDEST_CHANNELS = ((41, 42, 43), (44, 45, 46), (47, 48, 49))


def drawn(num_trials: int) -> DrawnPlan:
    return DrawnPlan(num_trials=num_trials, sampler_name="random", seed=0)


def progress_of(
    stored: StoredStudy, plan: Plan, *, epochs: int = 4, num_workers: int = 1, then: Stage | None = None
) -> StudyProgress:
    devices = ["cpu"] * num_workers
    return StudyProgress(Work(stored=stored, plan=plan, epochs=epochs, devices=devices, precision="fp32", then=then))


def table_of(stored: StoredStudy, plan: Plan, **options: Any) -> str:
    return shown(progress_of(stored, plan, **options).render())


@pytest.fixture
def new(storage: RDBStorage) -> StoredStudy:
    """A search without trials."""
    study = optuna.create_study(storage=storage, study_name="new", direction="maximize")
    StudyFacts(kind=Kind.SEARCH).write(study)
    return StoredStudy(study, storage)


def add(stored: StoredStudy, state: TrialState, ticket: int | None = None, **facts: Any) -> None:
    marked = facts if ticket is None else {"ticket": ticket, **facts}
    epochs = facts.get("epochs", 0)
    stored.study.add_trial(
        create_trial(
            state=state,
            value=99.99 if state == TrialState.COMPLETE else None,
            intermediate_values={epochs: 99.99} if epochs else {},
            user_attrs=TrialFacts(**marked).as_attributes(),
        )
    )


def seeds(first: int, number: int) -> GivenPlan:
    return GivenPlan(runs=tuple({"seed": seed} for seed in range(first, first + number)))


@pytest.fixture
def make_verification(storage: RDBStorage) -> Callable[..., StoredStudy]:
    """Makes a verification whose seeds from 10,000 on are in these states."""

    def make(states: Sequence[TrialState], **facts: Any) -> StoredStudy:
        study = optuna.create_study(storage=storage, study_name="small-verify-2", direction="maximize")
        StudyFacts(kind=Kind.VERIFY).write(study)
        for seed, state in enumerate(states, start=10_000):
            study.add_trial(
                create_trial(
                    state=state,
                    value=99.4 if state == TrialState.COMPLETE else None,
                    params={"seed": seed},
                    distributions={"seed": IntDistribution(0, LARGEST_SEED)},
                    user_attrs=TrialFacts(epochs=3, seconds=6.0, errors=60, **facts).as_attributes(),
                )
            )
        return StoredStudy(study, storage)

    return make


# The live table


def test_the_table_shows_how_far_the_search_is(search_study: StoredStudy) -> None:
    text = table_of(search_study, drawn(10))
    assert "3/10 done" in text
    assert "complete 2   pruned 1   running 1   interrupted 1\n" in text
    assert "failed" not in text  # what was interrupted is tried again
    assert "epochs saved 3 (20%)" in text


def test_the_table_tells_what_failed_from_what_was_interrupted(search_study: StoredStudy) -> None:
    TrialFacts(fail_reason="out of memory").write(writable(search_study.study, search_study.trials()[4]))
    search_study.study.tell(4, state=TrialState.FAIL)
    assert "running 0   interrupted 1   failed 1" in table_of(search_study, drawn(10))


def test_done_is_what_reached_an_outcome_complete_or_pruned(new: StoredStudy) -> None:
    for ticket, state in enumerate([TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING]):
        add(new, state, ticket, num_params=1, channels=WIDEST_CHANNELS, epochs=1)
    assert "2/9 done" in table_of(new, drawn(9))
    assert "complete 1   pruned 1   running 1   interrupted 1" in table_of(new, drawn(9))


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (Kind.SEARCH, "search"),
        (Kind.RERANK, "re-ranking"),
        (Kind.VERIFY, "verification"),
        (Kind.ABLATE, "ablation"),
        (Kind.REPRODUCE, "reproduction"),
    ],
)
def test_the_table_names_its_stage(new: StoredStudy, kind: Kind, name: str) -> None:
    StudyFacts(kind=kind).write(new.study)
    assert KINDS[kind].stage == name
    assert table_of(new, seeds(1, 5)).split()[0] == name


def test_the_table_says_why_nothing_runs_at_the_start(new: StoredStudy) -> None:
    progress = progress_of(new, drawn(10), epochs=15)
    assert "complete 0   pruned 0   running 0   (workers are starting)" in shown(progress.render())
    add(new, TrialState.RUNNING, 0)
    assert "starting" not in shown(progress.render())


def test_workers_that_have_ended_are_not_said_to_start(new: StoredStudy) -> None:
    progress = progress_of(new, drawn(10), epochs=15)
    add(new, TrialState.RUNNING, 0)
    progress.render()
    new.study.tell(0, state=TrialState.FAIL)  # interrupted
    assert "running 0" in shown(progress.render())
    assert "starting" not in shown(progress.render())


def test_no_worker_starts_where_nothing_is_left(new: StoredStudy) -> None:
    add(new, TrialState.COMPLETE, 0, num_params=1, channels=WIDEST_CHANNELS, epochs=4)
    text = table_of(new, drawn(1))
    assert "1/1 done" in text
    assert "starting" not in text
    assert "measuring" not in text


def test_the_table_shows_each_running_trial(search_study: StoredStudy) -> None:
    running = TrialFacts.of(search_study.trials()[4])
    lines = table_of(search_study, drawn(10)).splitlines()
    row = next(line for line in lines if "2/4" in line)
    assert row.split()[:5] == ["trial", "4", "2/4", "96.50", "%"]
    assert f"{running.num_params:,}" in row
    assert format_network(running) in row


def test_the_table_shows_the_best_and_the_time_left(search_study: StoredStudy) -> None:
    text = table_of(search_study, drawn(10))
    best = TrialFacts.of(search_study.trials()[2])
    assert f"best trial 2: 98.50 %, {best.num_params:,} parameters" in text
    # 6 more trials of 3 epochs of 2 seconds, and two more epochs of the one that is under way
    assert "about 0:00:40 left" in text
    assert "includes" not in text


def test_the_time_left_includes_what_follows_and_says_so(search_study: StoredStudy) -> None:
    text = table_of(search_study, drawn(10), then=Stage(name="re-ranking", num_runs=10))
    assert "about 0:02:00 left" in text  # 10 more runs of 4 epochs
    assert "the time left includes re-ranking" in text


def test_near_the_end_time_is_left_as_long_as_a_trial_trains(new: StoredStudy) -> None:
    network = {"num_params": 7_999, "channels": WIDEST_CHANNELS}
    add(new, TrialState.COMPLETE, 0, epochs=15, seconds=150.0, **network)
    add(new, TrialState.RUNNING, 1, epochs=14, seconds=280.0, **network)  # slower than the other
    text = table_of(new, drawn(2), epochs=15, num_workers=2)
    assert "about 0:00:20 left" in text
    assert "measuring" not in text


def test_after_the_last_epoch_the_table_says_what_the_last_trials_still_do(new: StoredStudy) -> None:
    network = {"num_params": 7_999, "channels": WIDEST_CHANNELS}
    add(new, TrialState.RUNNING, 0, epochs=15, seconds=150.0, **network)
    assert "measuring by all views" in table_of(new, drawn(1), epochs=15)
    assert "measuring" not in table_of(new, drawn(2), epochs=15)  # another is to begin
    add(new, TrialState.RUNNING, 1, epochs=14, seconds=140.0, **network)
    assert "measuring" not in table_of(new, drawn(2), epochs=15)  # another still trains


def test_the_table_knows_no_time_left_before_the_first_epoch(new: StoredStudy) -> None:
    add(new, TrialState.RUNNING, 0)
    text = table_of(new, drawn(10), epochs=15, then=RERANKING)
    assert "elapsed" in text
    assert "left" not in text
    assert "0/15" in text
    assert "best" not in text


@pytest.fixture
def crowded(new: StoredStudy) -> StoredStudy:
    """The longest of everything."""
    network = {"epochs": 15, "num_params": 100_000, "channels": WIDEST_CHANNELS}
    for ticket in range(1_000, 1_020):
        state = TrialState.COMPLETE if ticket < 1_010 else TrialState.RUNNING
        add(new, state, ticket, seconds=30_000.0, **network)
    for ticket in range(1_020, 1_120):
        add(new, TrialState.PRUNED, ticket, seconds=30_000.0, **{**network, "epochs": 5})
    for ticket in range(1_120, 1_140):
        add(new, TrialState.FAIL, ticket)
        add(new, TrialState.FAIL, ticket, fail_reason="OutOfMemoryError")
    return new


@pytest.mark.slow
def test_the_table_fits_eighty_columns_with_the_longest_of_everything(crowded: StoredStudy) -> None:
    text = table_of(crowded, drawn(10_000), epochs=15, num_workers=10, then=RERANKING)
    assert widest(text) <= 80
    assert text.count("41,42,43 / 44,45,46 / 47,48,49") == 11
    bar, counts, notes, *_ = text.splitlines()  # none of which is wrapped
    assert bar.split()[0] == "search"
    assert "110/10000 done" in bar
    assert bar.rstrip().endswith(" left")
    assert counts == "complete 10   pruned 100   running 10   interrupted 20   failed 20"
    assert notes.startswith("epochs saved 1000 (")
    assert notes.endswith("   the time left includes re-ranking")


def test_in_a_narrow_terminal_the_bar_gives_way_and_the_time_stays_whole(search_study: StoredStudy) -> None:
    lines = shown(progress_of(search_study, drawn(10), then=RERANKING).render(), width=60).splitlines()
    assert max(len(line.rstrip()) for line in lines) <= 60
    assert lines[0].startswith("search ")
    assert lines[0].rstrip().endswith("about 0:02:00 left")


def test_the_table_counts_only_the_trials_of_its_plan(search_study: StoredStudy) -> None:
    text = table_of(search_study, drawn(1))
    assert "1/1 done" in text
    assert "complete 1   pruned 0   running 0" in text


def test_the_table_of_a_verification_shows_seeds_and_no_best(make_verification: Callable[..., StoredStudy]) -> None:
    verification = make_verification([TrialState.COMPLETE, TrialState.RUNNING])
    text = table_of(verification, seeds(10_000, 5), epochs=15)
    assert "1/5 done" in text
    row = next(line for line in text.splitlines() if "3/15" in line)
    assert row.split()[:3] == ["seed", "10001", "3/15"]
    assert "best" not in text


def test_the_table_of_a_reranking_shows_runs(search_study: StoredStudy) -> None:
    leading = leading_trials(search_study, 2)
    reranking = open_reranking(search_study, 2)
    add_runs(reranking, leading[0], 98.0)
    reranking.study.add_trial(
        create_trial(
            state=TrialState.RUNNING,
            params={"trial": 0, "run": 1},
            distributions=reranking.trials()[0].distributions,
            user_attrs=TrialFacts(epochs=3, seconds=6.0).as_attributes(),
        )
    )
    text = table_of(reranking, runs_of(leading))
    assert "1/4 done" in text
    row = next(line for line in text.splitlines() if "3/4" in line)
    assert row.split()[:5] == ["trial", "0,", "run", "2", "3/4"]
    assert "best" not in text


# Lines


def test_lines_of_trials_that_end_together_count_up(search_study: StoredStudy) -> None:
    progress = progress_of(search_study, drawn(10), num_workers=2)
    facts = TrialFacts.of(search_study.trials()[0])
    for ticket in (4, 5):
        attributes = facts.model_copy(update={"ticket": ticket}).as_attributes()
        search_study.study.add_trial(create_trial(value=97.0, user_attrs=attributes))
    assert [line.split()[0] for line in progress.finished_lines()] == ["[4/10]", "[5/10]"]
    assert progress.finished_lines() == []


def test_what_was_interrupted_has_a_line_but_does_not_count(search_study: StoredStudy) -> None:
    progress = progress_of(search_study, drawn(10))
    search_study.study.tell(4, state=TrialState.FAIL)
    [line] = progress.finished_lines()
    assert re.fullmatch(r"\[3/10\] trial 4: interrupted, to be tried again \(about \d:\d\d:\d\d left\)", line)


def test_a_finished_trial_in_one_line(search_study: StoredStudy) -> None:
    trials = search_study.trials()
    complete, pruned, _, interrupted, _ = (describe_trial(trial, Kind.SEARCH) for trial in trials)
    assert complete == f"trial 0: 98.00 %, {TrialFacts.of(trials[0]).num_params:,} parameters, 4,5 / 6,7 / 7,8"
    assert pruned.startswith("trial 1: 60.00 %,")
    assert pruned.endswith("not promising (epoch 1)")
    assert interrupted == "trial 3: interrupted, to be tried again"


def test_a_finished_run_in_one_line(search_study: StoredStudy) -> None:
    leading = leading_trials(search_study, 1)
    reranking = open_reranking(search_study, 1)
    add_runs(reranking, leading[0], 98.25)
    [run] = copy.deepcopy(reranking.trials())
    run.user_attrs = TrialFacts(num_params=7_901, channels=WIDEST_CHANNELS).as_attributes()
    assert describe_trial(run, Kind.RERANK) == (
        "trial 2, run 1: 98.25 %, 7,901 parameters, 41,42,43 / 44,45,46 / 47,48,49"
    )


def test_a_finished_seed_in_one_line(make_verification: Callable[..., StoredStudy]) -> None:
    complete, interrupted = make_verification([TrialState.COMPLETE, TrialState.FAIL]).trials()
    assert describe_trial(complete, Kind.VERIFY) == "seed 10000: 99.40 %, 60 errors"
    assert describe_trial(interrupted, Kind.VERIFY).startswith("seed 10001: interrupted")


def test_a_seed_that_failed_says_why(make_verification: Callable[..., StoredStudy]) -> None:
    [failed] = make_verification([TrialState.FAIL], fail_reason="OutOfMemoryError: no memory").trials()
    assert describe_trial(failed, Kind.VERIFY) == "seed 10000: OutOfMemoryError: no memory"
