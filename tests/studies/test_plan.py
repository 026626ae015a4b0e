import pickle

import optuna
import pytest
from fakes import DISTRIBUTIONS, REFERENCE, draw
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.studies.choices import ChoiceError
from search.studies.facts import TrialFacts
from search.studies.plan import DrawnPlan, GivenPlan, Params, Plan

RUNS: tuple[Params, ...] = ({"rung": "plain", "seed": 3}, {"rung": "+ dropout", "seed": 3})
GIVEN = GivenPlan(runs=RUNS)
DRAWN = DrawnPlan(num_trials=3, sampler_name="random", seed=5)


def drawn_for(plan: Plan, ticket: int, attempt: int = 0) -> Params:
    study = optuna.create_study(sampler=plan.sampler(ticket, attempt))
    return draw(study.ask())


def started(params: Params) -> FrozenTrial:
    """A trial that was given its parameters and has drawn none yet."""
    return create_trial(state=TrialState.RUNNING, system_attrs={"fixed_params": params})


def test_a_searchs_keys_are_its_tickets_in_order() -> None:
    assert list(DRAWN.keys) == [0, 1, 2]
    assert all(DRAWN.params_of(key) is None for key in DRAWN.keys)


def test_a_search_knows_its_trials_again_by_what_it_has_marked_them_with() -> None:
    marked = create_trial(state=TrialState.RUNNING, user_attrs=DRAWN.mark(2).as_attributes())
    assert DRAWN.key_of(marked) == 2
    assert DRAWN.key_of(create_trial(state=TrialState.RUNNING)) is None


def test_what_a_trial_draws_depends_on_seed_ticket_and_attempt_alone() -> None:
    params = drawn_for(DRAWN, 2)
    assert drawn_for(DrawnPlan(num_trials=50, sampler_name="random", seed=5), 2) == params
    others = [
        drawn_for(DRAWN, 1),
        drawn_for(DRAWN, 2, attempt=1),
        drawn_for(DrawnPlan(num_trials=3, sampler_name="random", seed=6), 2),
    ]
    assert params not in others


def test_a_search_with_an_unknown_sampler_is_refused() -> None:
    with pytest.raises(ChoiceError, match="'grid'"):
        DrawnPlan(num_trials=3, sampler_name="grid", seed=0).sampler(0, 0)


def test_given_runs_keep_their_order_and_their_parameters() -> None:
    assert [GIVEN.params_of(key) for key in GIVEN.keys] == list(RUNS)
    assert GIVEN.mark(GIVEN.keys[0]) == TrialFacts()


def test_a_given_run_is_known_again_before_it_has_drawn_and_after() -> None:
    distributions = {
        "seed": optuna.distributions.IntDistribution(0, 9),
        "rung": optuna.distributions.CategoricalDistribution(["plain", "+ dropout"]),
    }
    ended = create_trial(value=99.0, params={"seed": 3, "rung": "plain"}, distributions=distributions)
    assert GIVEN.key_of(started({"seed": 3, "rung": "plain"})) == GIVEN.keys[0]  # in whatever order
    assert GIVEN.key_of(ended) == GIVEN.keys[0]
    assert GIVEN.key_of(started({"rung": "plain", "seed": 4})) not in GIVEN.keys
    assert GIVEN.key_of(create_trial(state=TrialState.RUNNING)) not in GIVEN.keys


def test_floating_point_parameters_are_known_again_to_the_last_bit() -> None:
    plan = GivenPlan(runs=({**REFERENCE, "lr": 0.1 + 0.2 - 0.25},))
    ended = create_trial(value=99.0, params=dict(plan.runs[0]), distributions=DISTRIBUTIONS)
    assert plan.key_of(ended) == plan.keys[0]


@pytest.mark.parametrize("plan", [DRAWN, GIVEN])
def test_a_plan_can_be_sent_to_a_worker(plan: Plan) -> None:
    sent = pickle.loads(pickle.dumps(plan))
    assert sent == plan
    assert list(sent.keys) == list(plan.keys)
