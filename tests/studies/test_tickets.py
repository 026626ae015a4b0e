import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import optuna
import pytest
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from search.storage import open_storage, this_process
from search.study import Binding, open_search_study
from search.tickets import claim_trial, find_dead_trials, release_dead_trials, tickets_left

BINDING = Binding(dataset="sample", split="5f3e", max_params=7_999, epochs=15, space="90ab")
REFERENCE = {"depth": 2, "width": 1.5, "lr": 0.01}
ELSEWHERE = {"host": "elsewhere", "pid": 1, "started": 0.0}
NUM_PROCESSES, NUM_RACED = 2, 16
CUT_OFF = {0: 0, 3: 1, 11: 3, 12: 2}  # tickets that are first lost, and after how many draws


@pytest.fixture
def study(storage: RDBStorage) -> optuna.Study:
    return open_search_study(storage, "small", BINDING, REFERENCE)


def claim(
    study: optuna.Study, tickets: range, *, sampler: str = "random", seed: int = 0, **options: Any
) -> optuna.Trial:
    trial = claim_if_any(study, tickets, sampler=sampler, seed=seed, **options)
    assert trial is not None
    return trial


def claim_if_any(
    study: optuna.Study, tickets: range, *, sampler: str = "random", seed: int = 0, **options: Any
) -> optuna.Trial | None:
    storage = study._storage._backend
    return claim_trial(study, storage, tickets, sampler=sampler, seed=seed, **{"fixed_params": {}, **options})


def draw(trial: optuna.Trial, num_params: int = 3) -> dict[str, Any]:
    """A space without networks, of which a worker that dies sees only the first parameters.

    As in a search, what was drawn to its end says so: it has channels.
    """
    draws = [
        lambda: trial.suggest_int("depth", 1, 9),
        lambda: trial.suggest_float("width", 0.5, 2.5),
        lambda: trial.suggest_float("lr", 1e-3, 1e-1, log=True),
    ]
    for suggest in draws[:num_params]:
        suggest()
    if num_params == len(draws):
        trial.set_user_attr("channels", [[8], [8], [8]])
    return trial.params


def accuracy(params: dict[str, Any]) -> float:
    return 90 + params["depth"] - (params["width"] - 1.7) ** 2 - params["lr"]


def lose(study: optuna.Study, trial: optuna.Trial) -> None:
    """What `kill -9` and the next command make of a trial."""
    trial.set_user_attr("owner", {**this_process(), "started": 0.0})
    assert release_dead_trials(study, study._storage._backend) == [trial.number]


def fail(study: optuna.Study, trial: optuna.Trial) -> None:
    trial.set_user_attr("fail_reason", "MemoryError")
    study.tell(trial, state=TrialState.FAIL)


def states(study: optuna.Study) -> list[str]:
    return [trial.state.name for trial in study.get_trials(deepcopy=False)]


def searched(
    study: optuna.Study, num_tickets: int, sampler: str, seed: int, lost: dict[int, int]
) -> list[dict[str, Any]]:
    """The parameters of each ticket; `lost` says which are first lost, and after how many draws."""
    for ticket in range(num_tickets):
        if ticket in lost:
            trial = claim(study, range(num_tickets), sampler=sampler, seed=seed)
            draw(trial, lost[ticket])
            lose(study, trial)
        trial = claim(study, range(num_tickets), sampler=sampler, seed=seed)
        assert trial.user_attrs["ticket"] == ticket
        study.tell(trial, accuracy(draw(trial)))
    return [trial.params for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))]


def claim_all(url: str) -> list[int]:
    storage = open_storage(url)
    study = optuna.load_study(study_name="small", storage=storage)
    tickets = []
    while (trial := claim_if_any(study, range(NUM_RACED))) is not None:
        tickets.append(trial.user_attrs["ticket"])
        time.sleep(0.05)  # so that the others get a turn
        study.tell(trial, accuracy(draw(trial)))
    return tickets


def test_racing_processes_make_exactly_the_planned_trials(study: optuna.Study, storage_url: str) -> None:
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(NUM_PROCESSES)
    with ProcessPoolExecutor(NUM_PROCESSES, mp_context=context, initializer=start.wait) as pool:
        claimed = list(pool.map(claim_all, [storage_url] * NUM_PROCESSES))
    assert sorted(ticket for tickets in claimed for ticket in tickets) == list(range(NUM_RACED))
    assert max(map(len, claimed)) < NUM_RACED  # or nobody raced
    assert states(study) == ["COMPLETE"] * NUM_RACED
    assert sum(trial.params == REFERENCE for trial in study.trials) == 1


def test_the_reference_comes_first(study: optuna.Study) -> None:
    assert draw(claim(study, range(3))) == REFERENCE
    assert draw(claim(study, range(3))) != REFERENCE


def test_the_lowest_free_ticket_is_claimed_first(study: optuna.Study) -> None:
    trials = [claim(study, range(10, 14)) for _ in range(4)]
    assert [trial.user_attrs["ticket"] for trial in trials] == [10, 11, 12, 13]
    fail(study, trials[2])
    fail(study, trials[1])
    assert claim(study, range(10, 14)).user_attrs["ticket"] == 11
    assert claim(study, range(10, 14)).user_attrs["ticket"] == 12


@pytest.mark.parametrize("state", [TrialState.COMPLETE, TrialState.PRUNED, None])
def test_a_ticket_is_held_by_a_trial_that_ended_well_or_runs(study: optuna.Study, state: TrialState | None) -> None:
    trial = claim(study, range(1))
    if state is not None:
        study.tell(trial, 90.0 if state == TrialState.COMPLETE else None, state=state)
    assert claim_if_any(study, range(1)) is None
    assert len(study.trials) == 1


def test_fewer_tickets_than_are_done_claim_nothing(study: optuna.Study) -> None:
    searched(study, 3, "random", 0, lost={})
    assert claim_if_any(study, range(2)) is None
    assert states(study) == ["COMPLETE"] * 3
    assert claim(study, range(4)).user_attrs["ticket"] == 3


def test_an_interrupted_ticket_is_tried_again_with_its_parameters(study: optuna.Study) -> None:
    study.tell(claim(study, range(3)), 90.0)
    interrupted = claim(study, range(3))
    params = draw(interrupted)
    study.tell(interrupted, state=TrialState.FAIL)
    for _ in range(2):  # and again, should the retry be lost
        retry = claim(study, range(3))
        assert (retry.user_attrs["ticket"], draw(retry)) == (1, params)
        lose(study, retry)
    assert len(study.get_trials(states=(TrialState.WAITING,))) == 0


def test_a_retry_says_of_what(study: optuna.Study) -> None:
    interrupted = claim(study, range(1))
    draw(interrupted)
    lose(study, interrupted)
    assert claim(study, range(1)).user_attrs["retry_of"] == interrupted.number


def test_a_ticket_that_failed_by_itself_is_tried_again_with_other_parameters(study: optuna.Study) -> None:
    drawn = []
    for _ in range(4):
        trial = claim(study, range(3))
        assert trial.user_attrs["ticket"] == 0
        drawn.append(draw(trial))
        fail(study, trial)
    assert len({str(params) for params in drawn}) == 4


def test_a_ticket_of_fixed_parameters_gets_them_each_time(study: optuna.Study) -> None:
    fixed = {ticket: {"depth": ticket, "width": 1.0, "lr": 0.05} for ticket in (5, 6)}
    study.tell(claim(study, range(1)), 90.0)  # the reference
    first, second = (claim(study, range(5, 7), fixed_params=fixed) for _ in range(2))
    assert (draw(first), draw(second)) == (fixed[5], fixed[6])
    fail(study, second)
    lose(study, first)
    assert [draw(claim(study, range(5, 7), fixed_params=fixed)) for _ in range(2)] == [fixed[5], fixed[6]]


def test_a_trial_enqueued_by_hand_is_run(study: optuna.Study) -> None:
    by_hand = {"depth": 7, "width": 1.25, "lr": 0.02}
    study.tell(claim(study, range(3)), 90.0)
    study.enqueue_trial(by_hand)
    trial = claim(study, range(3))
    assert (trial.user_attrs["ticket"], draw(trial)) == (1, by_hand)


def test_a_trial_enqueued_by_hand_waits_for_the_interrupted_one(study: optuna.Study) -> None:
    by_hand = {"depth": 7, "width": 1.25, "lr": 0.02}
    interrupted = claim(study, range(3))
    draw(interrupted)
    lose(study, interrupted)
    study.enqueue_trial(by_hand)
    retry, next_trial = claim(study, range(3)), claim(study, range(3))
    assert (retry.user_attrs["ticket"], draw(retry)) == (0, REFERENCE)
    assert (next_trial.user_attrs["ticket"], draw(next_trial)) == (1, by_hand)


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_search_that_was_cut_off_makes_the_trials_that_it_would_have_made(storage: RDBStorage, sampler: str) -> None:
    whole, cut_off = (
        searched(open_search_study(storage, name, BINDING, REFERENCE), 14, sampler, 7, lost)
        for name, lost in (("whole", {}), ("cut off", CUT_OFF))
    )
    assert whole[0] == REFERENCE
    assert cut_off == whole


def test_tpe_learns_after_its_random_start(storage: RDBStorage) -> None:
    tpe, random = (
        searched(open_search_study(storage, name, BINDING, REFERENCE), 12, name, 7, lost={})
        for name in ("tpe", "random")
    )
    assert tpe[:10] == random[:10]
    assert tpe[10:] != random[10:]


def test_tickets_are_left_that_no_trial_holds(study: optuna.Study) -> None:
    complete, pruned, failed, _running, interrupted = (claim(study, range(6)) for _ in range(5))
    study.tell(complete, 90.0)
    study.tell(pruned, state=TrialState.PRUNED)
    fail(study, failed)
    study.tell(interrupted, state=TrialState.FAIL)
    assert tickets_left(study, range(6)) == [2, 4, 5]
    assert tickets_left(study, range(2)) == []


def test_another_seed_gives_other_trials(storage: RDBStorage) -> None:
    first, second = (
        searched(open_search_study(storage, str(seed), BINDING, REFERENCE), 3, "random", seed, lost={})
        for seed in (1, 2)
    )
    assert first[0] == second[0] == REFERENCE
    assert all(params not in second for params in first[1:])


def test_a_dead_workers_trial_is_released_once(study: optuna.Study, storage: RDBStorage) -> None:
    lose(study, claim(study, range(1)))
    assert states(study) == ["FAIL"]
    assert release_dead_trials(study, storage) == []


def test_a_trial_that_nobody_owns_is_released(study: optuna.Study, storage: RDBStorage) -> None:
    study.tell(claim(study, range(1)), 90.0)
    storage.create_new_trial(study._study_id)
    assert release_dead_trials(study, storage) == [1]
    assert states(study) == ["COMPLETE", "FAIL"]


def test_what_a_worker_took_from_the_queue_and_died_of_at_once_is_queued_again(
    study: optuna.Study, storage: RDBStorage
) -> None:
    storage.set_trial_state_values(study.trials[0]._trial_id, TrialState.RUNNING)  # on record without a ticket
    assert release_dead_trials(study, storage) == [0]
    assert states(study) == ["FAIL", "WAITING"]
    assert draw(claim(study, range(1))) == REFERENCE


def test_finding_dead_trials_changes_nothing(study: optuna.Study, storage: RDBStorage) -> None:
    dead, _living = (claim(study, range(2)) for _ in range(2))
    dead.set_user_attr("owner", {**this_process(), "started": 0.0})
    assert [trial.number for trial in find_dead_trials(study, storage)] == [dead.number]
    assert states(study) == ["RUNNING", "RUNNING"]


def test_a_living_workers_trial_is_left_alone(study: optuna.Study, storage: RDBStorage) -> None:
    claim(study, range(1))
    assert release_dead_trials(study, storage) == []
    assert states(study) == ["RUNNING"]


def let_heartbeats_age(storage: RDBStorage) -> None:
    with storage.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE trial_heartbeats SET heartbeat = datetime('now', '-1 hour')")


def test_another_hosts_trial_is_left_alone_as_long_as_its_heart_beats(study: optuna.Study, storage: RDBStorage) -> None:
    trial = claim(study, range(1))
    params = draw(trial)
    trial.set_user_attr("owner", ELSEWHERE)
    release_dead_trials(study, storage)
    assert states(study) == ["RUNNING"]
    let_heartbeats_age(storage)
    release_dead_trials(study, storage)
    assert states(study) == ["FAIL"]
    assert draw(claim(study, range(1))) == params


def test_a_living_worker_here_keeps_its_trial_after_the_machine_has_slept(
    study: optuna.Study, storage: RDBStorage
) -> None:
    claim(study, range(1))
    let_heartbeats_age(storage)
    release_dead_trials(study, storage)
    assert states(study) == ["RUNNING"]


def test_what_ended_is_not_released(study: optuna.Study, storage: RDBStorage) -> None:
    for state in (TrialState.PRUNED, TrialState.FAIL):
        trial = claim(study, range(2))
        trial.set_user_attr("owner", {**this_process(), "started": 0.0})
        study.tell(trial, state=state)
    assert release_dead_trials(study, storage) == []
    assert states(study) == ["PRUNED", "FAIL"]
