import contextlib
import multiprocessing
import sqlite3
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import optuna
import pytest
from fakes import (
    BINDING,
    REFERENCE,
    accuracy,
    claim,
    dead_process,
    draw,
    drawn,
    ends,
    fail,
    let_heartbeats_age,
    lose,
    states,
    ticket_of,
)
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from sqlalchemy import event

from search.studies.choices import GP_STARTUP_TRIALS
from search.studies.facts import TrialFacts
from search.studies.opening import open_search_study
from search.studies.optuna_private import fixed_params, start_trial
from search.studies.plan import GivenPlan, Params, Plan
from search.studies.process import Owner, this_process
from search.studies.storage import open_storage
from search.studies.study import StoredStudy
from search.studies.tickets import (
    KilledError,
    claim_trial,
    find_dead_trials,
    find_holders,
    is_finished,
    keys_left,
    release_dead_trials,
)

ELSEWHERE = Owner(host="elsewhere", place="elsewhere", pid=1, started=0.0)
NUM_PROCESSES, NUM_RACED = 2, 16
FOURTH, FIFTH = ({"depth": depth, "width": 1.0, "lr": 0.05} for depth in (4, 5))
GIVEN = GivenPlan(runs=(FOURTH, FIFTH))
BY_HAND = {"depth": 7, "width": 1.25, "lr": 0.02}


def searched(search: StoredStudy, num_trials: int, sampler: str, seed: int, lost: dict[int, int]) -> list[Params]:
    """The parameters of each ticket; `lost` says which tickets are first lost, and after how many draws."""
    plan = drawn(num_trials, sampler_name=sampler, seed=seed)
    for ticket in range(num_trials):
        if ticket in lost:
            trial = claim(search, plan)
            draw(trial, lost[ticket])
            lose(search, trial)
        trial = claim(search, plan)
        assert ticket_of(trial) == ticket
        search.study.tell(trial, accuracy(draw(trial)))
    return [trial.params for trial in search.complete_trials()]


def claim_all(url: str) -> list[int | None]:
    search = StoredStudy.load(open_storage(url), "small")
    tickets = []
    while (trial := claim_trial(search, drawn(NUM_RACED))) is not None:
        tickets.append(ticket_of(trial))
        time.sleep(0.05)  # so that the others get a turn
        search.study.tell(trial, accuracy(draw(trial)))
    return tickets


@pytest.mark.slow
def test_racing_processes_make_exactly_the_planned_trials(search: StoredStudy, storage_url: str) -> None:
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(NUM_PROCESSES)
    with ProcessPoolExecutor(NUM_PROCESSES, mp_context=context, initializer=start.wait) as pool:
        claimed = list(pool.map(claim_all, [storage_url] * NUM_PROCESSES))
    assert sorted(ticket for tickets in claimed for ticket in tickets if ticket is not None) == list(range(NUM_RACED))
    assert max(map(len, claimed)) < NUM_RACED  # or nobody raced
    assert states(search) == ["COMPLETE"] * NUM_RACED
    assert sum(trial.params == REFERENCE for trial in search.trials()) == 1


def test_the_reference_comes_first(search: StoredStudy) -> None:
    assert draw(claim(search, drawn(3))) == REFERENCE
    assert draw(claim(search, drawn(3))) != REFERENCE


def test_the_lowest_free_ticket_is_claimed_first(search: StoredStudy) -> None:
    trials = [claim(search, drawn(4)) for _ in range(4)]
    assert list(map(ticket_of, trials)) == [0, 1, 2, 3]
    fail(search, trials[2])
    fail(search, trials[1])
    assert ticket_of(claim(search, drawn(4))) == 1
    assert ticket_of(claim(search, drawn(4))) == 2


@pytest.mark.parametrize("state", [TrialState.COMPLETE, TrialState.PRUNED, None])
@pytest.mark.parametrize("plan", [drawn(1), GivenPlan(runs=(FOURTH,))])
def test_a_key_is_held_by_a_trial_that_ended_well_or_runs(
    search: StoredStudy, plan: Plan, state: TrialState | None
) -> None:
    trial = claim(search, plan)
    if state is not None:
        search.study.tell(trial, 90.0 if state == TrialState.COMPLETE else None, state=state)
    assert claim_trial(search, plan) is None
    assert len(search.trials((TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING))) == 1


def test_fewer_tickets_than_are_done_claim_nothing(search: StoredStudy) -> None:
    searched(search, 3, "random", 0, lost={})
    assert claim_trial(search, drawn(2)) is None
    assert states(search) == ["COMPLETE"] * 3
    assert ticket_of(claim(search, drawn(4))) == 3


def test_an_interrupted_ticket_is_tried_again_with_its_parameters(search: StoredStudy) -> None:
    search.study.tell(claim(search, drawn(3)), 90.0)
    interrupted = claim(search, drawn(3))
    params = draw(interrupted)
    search.study.tell(interrupted, state=TrialState.FAIL)
    for _ in range(2):  # and again, should the retry be lost
        retry = claim(search, drawn(3))
        assert (ticket_of(retry), draw(retry)) == (1, params)
        lose(search, retry)
    assert len(search.trials((TrialState.WAITING,))) == 0


@pytest.mark.parametrize("plan", [drawn(1), GIVEN])
def test_a_retry_says_of_what_and_whose_it_is(search: StoredStudy, plan: Plan) -> None:
    interrupted = claim(search, plan)
    draw(interrupted)
    lose(search, interrupted)
    facts = TrialFacts.of(claim(search, plan))
    assert (facts.retry_of, facts.owner) == (interrupted.number, this_process())


def test_a_ticket_that_failed_by_itself_is_tried_again_with_other_parameters(search: StoredStudy) -> None:
    params = []
    for _ in range(4):
        trial = claim(search, drawn(3))
        assert ticket_of(trial) == 0
        params.append(draw(trial))
        fail(search, trial)
    assert len(set(map(str, params))) == 4


def test_a_given_run_gets_its_parameters_each_time(search: StoredStudy) -> None:
    search.study.tell(claim(search, drawn(1)), 90.0)  # the reference
    first, second = claim(search, GIVEN), claim(search, GIVEN)
    assert (draw(first), draw(second)) == (FOURTH, FIFTH)
    fail(search, second)
    lose(search, first)
    assert [draw(claim(search, GIVEN)) for _ in range(2)] == [FOURTH, FIFTH]


def test_a_given_run_that_was_cut_off_before_it_drew_gets_its_parameters(search: StoredStudy) -> None:
    lose(search, claim(search, GIVEN))
    assert draw(claim(search, GIVEN)) == FOURTH


def test_a_given_run_comes_before_what_is_queued(search: StoredStudy) -> None:
    assert draw(claim(search, GIVEN)) == FOURTH
    assert [fixed_params(trial) for trial in search.trials((TrialState.WAITING,))] == [REFERENCE]


def test_runs_that_another_plan_has_made_are_not_made_again(search: StoredStudy) -> None:
    search.study.tell(claim(search, GIVEN), 90.0)
    more = GivenPlan(runs=(FOURTH, FIFTH, BY_HAND))
    under_way = claim(search, more)
    assert draw(under_way) == FIFTH
    assert draw(claim(search, more)) == BY_HAND
    assert claim_trial(search, more) is None


def test_a_trial_enqueued_by_hand_is_run(search: StoredStudy) -> None:
    search.study.tell(claim(search, drawn(3)), 90.0)
    search.study.enqueue_trial(BY_HAND)
    trial = claim(search, drawn(3))
    assert (ticket_of(trial), draw(trial)) == (1, BY_HAND)


def test_a_trial_enqueued_by_hand_waits_for_the_interrupted_one(search: StoredStudy) -> None:
    interrupted = claim(search, drawn(3))
    draw(interrupted)
    lose(search, interrupted)
    search.study.enqueue_trial(BY_HAND)
    retry, next_trial = claim(search, drawn(3)), claim(search, drawn(3))
    assert (ticket_of(retry), draw(retry)) == (0, REFERENCE)
    assert (ticket_of(next_trial), draw(next_trial)) == (1, BY_HAND)


@pytest.mark.parametrize(
    ("sampler", "num_trials"),
    [("gp", GP_STARTUP_TRIALS + 4), ("tpe", 14), pytest.param("random", 14, marks=pytest.mark.slow)],
)
def test_a_search_that_was_cut_off_makes_the_trials_that_it_would_have_made(
    storage: RDBStorage, sampler: str, num_trials: int
) -> None:
    late = num_trials - 3  # when the sampler has learned
    whole, cut_off = (
        searched(open_search_study(storage, name, BINDING, REFERENCE), num_trials, sampler, 7, lost)
        for name, lost in (("whole", {}), ("cut off", {0: 0, 3: 1, late: 3, late + 1: 2}))
    )
    assert whole[0] == REFERENCE
    assert cut_off == whole


@pytest.mark.parametrize(("sampler", "num_random"), [("gp", GP_STARTUP_TRIALS), ("tpe", 10)])
def test_a_sampler_learns_after_its_random_start(storage: RDBStorage, sampler: str, num_random: int) -> None:
    learning, random = (
        searched(open_search_study(storage, name, BINDING, REFERENCE), num_random + 2, name, 7, lost={})
        for name in (sampler, "random")
    )
    assert learning[:num_random] == random[:num_random]
    assert learning[num_random:] != random[num_random:]


def test_keys_are_left_that_no_trial_holds(search: StoredStudy) -> None:
    complete, pruned, failed, _running, interrupted = (claim(search, drawn(6)) for _ in range(5))
    search.study.tell(complete, 90.0)
    search.study.tell(pruned, state=TrialState.PRUNED)
    fail(search, failed)
    search.study.tell(interrupted, state=TrialState.FAIL)
    assert keys_left(search, drawn(6)) == [2, 4, 5]
    assert keys_left(search, drawn(2)) == []


@pytest.mark.parametrize("plan", [drawn(2), GIVEN])
def test_a_plan_is_finished_when_each_trial_has_ended_well_and_none_is_under_way(
    search: StoredStudy, plan: Plan
) -> None:
    first, second = claim(search, plan), claim(search, plan)
    search.study.tell(first, 90.0)
    assert not is_finished(search, plan)
    fail(search, second)
    assert not is_finished(search, plan)
    search.study.tell(claim(search, plan), state=TrialState.PRUNED)
    assert is_finished(search, plan)


def test_another_seed_gives_other_trials(storage: RDBStorage) -> None:
    first, second = (
        searched(open_search_study(storage, str(seed), BINDING, REFERENCE), 3, "random", seed, lost={})
        for seed in (1, 2)
    )
    assert first[0] == second[0] == REFERENCE
    assert all(params not in second for params in first[1:])


def test_a_dead_workers_trial_is_released_once(search: StoredStudy) -> None:
    lose(search, claim(search, drawn(1)))
    assert states(search) == ["FAIL"]
    assert release_dead_trials(search) == []


def test_a_trial_that_nobody_owns_is_released(search: StoredStudy) -> None:
    search.study.tell(claim(search, drawn(1)), 90.0)
    search.storage.create_new_trial(search.study._study_id)
    assert release_dead_trials(search) == [1]
    assert states(search) == ["COMPLETE", "FAIL"]


def take_from_the_queue(search: StoredStudy) -> None:
    """What `Study.ask` does first: the trial is on record without a ticket."""
    first = search.trials()[0]
    search.storage.set_trial_state_values(first._trial_id, TrialState.RUNNING)


def test_what_a_worker_took_from_the_queue_and_died_of_at_once_is_queued_again(search: StoredStudy) -> None:
    take_from_the_queue(search)
    assert release_dead_trials(search) == [0]
    assert states(search) == ["FAIL", "WAITING"]
    assert draw(claim(search, drawn(1))) == REFERENCE


def test_what_a_worker_took_from_the_queue_and_had_half_on_record_is_tried_again_once(search: StoredStudy) -> None:
    take_from_the_queue(search)
    search.storage.set_trial_user_attr(search.trials()[0]._trial_id, "ticket", 0)  # killed before its owner was written
    assert release_dead_trials(search) == [0]
    assert draw(claim(search, drawn(2))) == REFERENCE
    assert draw(claim(search, drawn(2))) != REFERENCE
    assert states(search) == ["FAIL", "RUNNING", "RUNNING"]


def test_finding_dead_trials_changes_nothing(search: StoredStudy) -> None:
    dead, _living = (claim(search, drawn(2)) for _ in range(2))
    TrialFacts(owner=dead_process()).write(dead)
    assert [trial.number for trial in find_dead_trials(search)] == [dead.number]
    assert states(search) == ["RUNNING", "RUNNING"]


def test_a_living_workers_trial_is_left_alone(search: StoredStudy) -> None:
    claim(search, drawn(1))
    assert release_dead_trials(search) == []
    assert states(search) == ["RUNNING"]


def test_another_hosts_trial_is_left_alone_as_long_as_its_heart_beats(search: StoredStudy) -> None:
    trial = claim(search, drawn(1))
    params = draw(trial)
    TrialFacts(owner=ELSEWHERE).write(trial)
    release_dead_trials(search)
    assert states(search) == ["RUNNING"]
    let_heartbeats_age(search.storage)
    release_dead_trials(search)
    assert states(search) == ["FAIL"]
    assert draw(claim(search, drawn(1))) == params


@pytest.mark.parametrize(("seconds", "state"), [(230, "RUNNING"), (250, "FAIL")])
def test_another_hosts_trial_is_released_after_the_grace_period_and_not_before(
    search: StoredStudy, seconds: int, state: str
) -> None:
    TrialFacts(owner=ELSEWHERE).write(claim(search, drawn(1)))
    let_heartbeats_age(search.storage, seconds)
    release_dead_trials(search)
    assert states(search) == [state]


def test_a_trial_whose_claimant_elsewhere_died_before_its_first_heartbeat_is_released(search: StoredStudy) -> None:
    search.study.tell(claim(search, drawn(1)), 90.0)
    start_trial(search.study, None, TrialFacts(ticket=1, owner=ELSEWHERE).as_attributes())
    assert release_dead_trials(search) == [1]


def kill(search: StoredStudy, trial: optuna.Trial) -> None:
    """What a parent makes of a trial whose worker it saw die alone."""
    TrialFacts(owner=dead_process()).write(trial)
    release_dead_trials(search, killed=True)


def test_a_trial_that_kills_three_workers_has_failed_and_another_takes_its_place(search: StoredStudy) -> None:
    drawn_params = []
    for _ in range(4):
        trial = claim(search, drawn(2))
        drawn_params.append(draw(trial))
        kill(search, trial)
    first, second, third, fourth = map(TrialFacts.of, search.trials())
    assert drawn_params[0] == drawn_params[1] == drawn_params[2] != drawn_params[3]
    assert (first.kills, second.kills, third.kills, fourth.kills) == (1, 2, 3, 1)
    assert (first.fail_reason, second.fail_reason, fourth.fail_reason) == (None, None, None)
    assert third.fail_reason is not None
    assert third.fail_reason.startswith("Its worker was killed 3 times.")
    assert draw(claim(search, drawn(2))) == drawn_params[3]


def test_what_ends_with_its_command_is_never_counted_as_killing_its_worker(search: StoredStudy) -> None:
    for _ in range(2):
        kill(search, claim(search, drawn(1)))
    for _ in range(4):
        lose(search, claim(search, drawn(1)))
    trial = claim(search, drawn(1))
    TrialFacts(owner=ELSEWHERE).write(trial)
    let_heartbeats_age(search.storage)
    assert release_dead_trials(search, killed=True) == [trial.number]  # another host's, meanwhile
    last = claim(search, drawn(1))
    assert TrialFacts.of(last).kills == 2
    assert all(TrialFacts.of(trial).fail_reason is None for trial in search.trials())
    kill(search, last)
    assert TrialFacts.of(search.trials()[-1]).fail_reason is not None


def test_a_given_run_that_kills_three_workers_ends_the_command_and_is_tried_again_by_the_next(
    search: StoredStudy,
) -> None:
    for _ in range(2):  # commands
        for _ in range(2):
            trial = claim(search, GIVEN)
            assert draw(trial) == FOURTH
            kill(search, trial)
        trial = claim(search, GIVEN)
        with pytest.raises(KilledError, match=rf"Study 'small', trial {trial.number}: .* killed 3 times\.") as caught:
            kill(search, trial)
        assert "\n" not in str(caught.value)
    assert states(search) == ["WAITING", *["FAIL"] * 6]


def others_view(search: StoredStudy) -> StoredStudy:
    """The same study, as another host reads and writes it."""
    return StoredStudy.load(open_storage(str(search.storage.url)), search.name)


@pytest.mark.parametrize("plan", [drawn(1), GivenPlan(runs=(FOURTH,))])
@pytest.mark.parametrize("is_done_again", [True, False])
def test_who_is_taken_for_dead_and_ends_its_trial_late_changes_nothing(
    search: StoredStudy, plan: Plan, is_done_again: bool
) -> None:
    late = claim(search, plan)
    draw(late)
    TrialFacts(owner=ELSEWHERE).write(late)
    let_heartbeats_age(search.storage)
    other = others_view(search)
    assert release_dead_trials(other) == [late.number]
    retry = claim(other, plan)
    if is_done_again:
        other.study.tell(retry, 91.0)
    before = [(trial.state, trial.value, trial.user_attrs) for trial in other.trials()]
    with pytest.raises(ValueError, match="FAIL"):
        search.study.tell(late, 90.0)
    with pytest.raises(UpdateFinishedTrialError):
        TrialFacts(errors=3).write(late)
    assert [(trial.state, trial.value, trial.user_attrs) for trial in other.trials()] == before
    assert claim_trial(search, plan) is None


@pytest.mark.parametrize("moment", range(8))
def test_a_trial_that_ends_while_it_is_taken_for_dead_ends_once(search: StoredStudy, moment: int) -> None:
    trial = claim(search, drawn(1))
    TrialFacts(owner=ELSEWHERE).write(trial)
    let_heartbeats_age(search.storage)
    other = others_view(search)
    left = [moment]
    told: list[bool] = []

    def end(*_: Any) -> None:
        """Just after the other's transaction of that number."""
        left[0] -= 1
        if left[0] == -1:
            with contextlib.suppress(ValueError):  # too late
                search.study.tell(trial, state=TrialState.PRUNED)
                told.append(True)

    event.listen(other.storage.engine, "checkin", end)
    released = release_dead_trials(other, killed=True)
    assert (states(search), released) == ((["PRUNED"], []) if told else (["FAIL"], [trial.number]))
    assert (claim_trial(search, drawn(1)) is None) == bool(told)


def test_the_holders_of_running_trials_are_known(search: StoredStudy) -> None:
    here, elsewhere, ended, beyond = (claim(search, drawn(4)) for _ in range(4))
    let_heartbeats_age(search.storage, 100)
    TrialFacts(owner=ELSEWHERE).write(elsewhere)
    search.study.tell(ended, 90.0)
    holders = find_holders(search, drawn(3))
    assert [(holder.trial.number, holder.owner) for holder in holders] == [
        (here.number, this_process()),
        (elsewhere.number, ELSEWHERE),
    ]
    assert [holder.silent for holder in holders] == [pytest.approx(100, abs=10)] * 2
    assert not any(holder.is_dead for holder in holders)
    assert [holder.trial.number for holder in find_holders(search)][2:] == [beyond.number]


def test_a_living_worker_here_keeps_its_trial_after_the_machine_has_slept(search: StoredStudy) -> None:
    claim(search, drawn(1))
    let_heartbeats_age(search.storage)
    release_dead_trials(search)
    assert states(search) == ["RUNNING"]


def test_what_ended_is_not_released(search: StoredStudy) -> None:
    for state in (TrialState.PRUNED, TrialState.FAIL):
        trial = claim(search, drawn(2))
        TrialFacts(owner=dead_process()).write(trial)
        search.study.tell(trial, state=state)
    assert release_dead_trials(search) == []
    assert states(search) == ["PRUNED", "FAIL"]


def test_a_claim_whose_answer_was_lost_is_released_and_made_again(
    search: StoredStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    dialect = search.storage.engine.dialect
    commit, errors = dialect.do_commit, [sqlite3.OperationalError("the answer is lost")]

    def commit_and_lose(connection: Any) -> None:
        commit(connection)
        (num_running,) = connection.execute("SELECT count(*) FROM trials WHERE state = 'RUNNING'").fetchone()
        if num_running and errors:
            raise errors.pop()

    monkeypatch.setattr(dialect, "do_commit", commit_and_lose)
    trial = claim(search, drawn(2))
    assert ends(search) == [(0, "FAIL"), (0, "RUNNING")]
    assert TrialFacts.of(trial).retry_of == 0
    assert trial.number == 1
