"""Simulated searches: their worlds agree with what is recorded, their costs add up, and rules choose as they say."""

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from click.testing import CliRunner
from optuna.distributions import FloatDistribution
from threadpoolctl import threadpool_limits

from benchmarks import samplers, simulation
from benchmarks.points import join, read_points
from benchmarks.records import Point, Points, read, to_json
from benchmarks.simulation import CANDIDATES, DEFAULT_RULE, FEWEST_TRIALS, RULES, Lab, Rule, Trial, search
from benchmarks.surrogate import ROUGH, SMOOTH, Params, Surrogate, World, distributions, encode, log_error, to_accuracy
from search.config import RECIPE, SAME_BUT_FOR_ROUNDING, ExplainedError
from search.studies.choices import make_pruner
from search.studies.facts import StudyFacts, TrialFacts
from search.studies.kinds import KINDS, Kind
from search.studies.space import load_space
from search.studies.study import Binding, StoredStudy
from space import REFERENCE, suggest_config

pytestmark = pytest.mark.slow  # benchmarks, which only this project's developers run

EPOCHS, MAX_PARAMS, NOISE = 6, 2_000, 0.05
SPACE = load_space()


def truth(params: Params) -> float:
    """The log error of a made-up space in which three parameters matter."""
    return (
        math.log(0.6)
        + 0.4 * math.log(params["lr"] / 0.02) ** 2
        + 0.4 * (params["rotation"] / 20)
        - 0.3 * params["separable_2"]
    )


def made_points(n: int = 60) -> Points:
    generator = np.random.default_rng(0)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    study.enqueue_trial(REFERENCE)
    points = []
    for index in range(n):
        trial = study.ask()
        config = suggest_config(trial, MAX_PARAMS)

        def run(params: Params = trial.params) -> float:
            return to_accuracy(truth(params) + NOISE * generator.standard_normal())

        value = run()
        curve = tuple(value - 0.1 - 0.3 * (EPOCHS - epoch) for epoch in range(1, EPOCHS + 1))
        points.append(
            Point(
                params=trial.params,
                num_params=config.model.num_params,
                curve=curve,
                value=value,
                further=(run(), run()) if index < 12 else (),
            )
        )
    return Points(
        study_name="made",
        dataset="mnist",
        max_params=MAX_PARAMS,
        epochs=EPOCHS,
        space=SPACE.hash,
        recipe=RECIPE,
        precision="fp32",
        points=tuple(points),
        commit="made",
        versions={},
    )


POINTS = made_points()


@pytest.fixture(scope="module", autouse=True)
def _a_fit_is_quick() -> Iterator[None]:
    """One optimisation of a process finds these few points' scales; and BLAS takes no core from other tests."""
    make_process = Surrogate._make_process
    with pytest.MonkeyPatch.context() as patch, threadpool_limits(1):
        patch.setattr(Surrogate, "_make_process", lambda self, num_restarts=0: make_process(self, 0))
        yield


@pytest.fixture(scope="module")
def surrogate(_a_fit_is_quick: None) -> Surrogate:
    return Surrogate(POINTS)


@pytest.fixture(scope="module")
def rough(_a_fit_is_quick: None) -> Surrogate:
    return Surrogate(POINTS, ROUGH)


def test_an_accuracy_leaves_an_error_and_back() -> None:
    assert log_error(99.4) == pytest.approx(math.log(0.6))
    assert to_accuracy(math.log(0.6)) == pytest.approx(99.4)
    assert math.isfinite(log_error(100.0))


def test_every_parameter_is_encoded_from_nought_to_one(surrogate: Surrogate) -> None:
    assert surrogate.encoded.shape == (len(POINTS.points), len(REFERENCE))
    assert surrogate.encoded.min() >= 0
    assert surrogate.encoded.max() <= 1
    drawn = surrogate.distributions
    rates = drawn["lr"]
    assert isinstance(rates, FloatDistribution)
    middle = encode(REFERENCE | {"lr": math.sqrt(rates.low * rates.high)}, drawn)
    assert middle[list(drawn).index("lr")] == pytest.approx(0.5)


def test_the_noise_is_that_of_the_further_runs(surrogate: Surrogate) -> None:
    assert surrogate.noise == pytest.approx(NOISE, rel=0.5)  # of twelve pairs
    assert surrogate.noise_of_number < 0.7 * NOISE  # there is none; two numbers tell it roughly


def test_what_runs_of_a_number_share_is_told_from_the_rest() -> None:
    shift = 3 * NOISE
    again = [
        replace(point, further=(point.further[0], to_accuracy(log_error(point.further[1]) + shift)))
        if point.further
        else point
        for point in POINTS.points
    ]
    surrogate = Surrogate(replace(POINTS, points=tuple(again)))
    assert surrogate.noise_of_number == pytest.approx(shift / math.sqrt(2), rel=0.4)
    lab = Lab(surrogate, 1)
    first, second, other = (np.array([log_error(lab.run(0.0, number)) for _ in range(400)]) for number in (0, 0, 1))
    assert abs(first.mean() - second.mean()) < 4 * NOISE / 20  # the same number's runs have the same seed
    assert abs(first.mean() - other.mean()) > 4 * NOISE / 20
    assert first.std() == pytest.approx(math.sqrt(surrogate.noise**2 - surrogate.noise_of_number**2), rel=0.15)


def test_what_has_no_part_in_a_network_makes_no_other_point(surrogate: Surrogate) -> None:
    single = REFERENCE | {"convs_1": 1, "convs_2": 1, "convs_3": 1}
    others = [single | {"separable_1": True}, single | {"growth": 1.6}, single | {"residual": True}]
    world = World(surrogate, 3)
    assert {world.log_error(params) for params in others} == {world.log_error(single)}
    assert world.log_error(REFERENCE | {"growth": 1.6}) != world.log_error(REFERENCE)


def test_too_few_points_are_told_before_anything_is_simulated() -> None:
    with pytest.raises(ExplainedError, match="fewer than 10 points"):
        Surrogate(replace(POINTS, points=POINTS.points[:9]))


def test_a_surrogate_foretells_points_that_it_was_not_given(surrogate: Surrogate) -> None:
    fit = surrogate.describe()
    assert (fit.points, fit.repeated) == (60, 12)
    assert fit.explained > 0.6
    assert fit.rank_correlation > 0.8
    assert set(list(fit.length_scales)[:4]) >= {"lr", "rotation", "separable_2"}


def test_worlds_agree_with_what_is_recorded_and_differ_where_nothing_is(surrogate: Surrogate) -> None:
    worlds = [World(surrogate, seed) for seed in range(30)]
    at_points = np.array([[world.log_error(point.params) for point in POINTS.points] for world in worlds])
    truths = np.array([truth(point.params) for point in POINTS.points])
    assert np.abs(at_points.mean(axis=0) - truths).mean() < 2 * NOISE
    corner = REFERENCE | {"lr": 0.1, "rotation": 20.0, "shift": 3.0, "distortion": 0.25, "convs_1": 4, "growth": 1.6}
    elsewhere = np.array([world.log_error(corner) for world in worlds])
    assert elsewhere.std() > at_points.std(axis=0).mean()


def test_at_a_recorded_point_worlds_agree_with_its_runs_however_rough_they_are() -> None:
    odd = replace(POINTS.points[0], further=tuple([to_accuracy(truth(REFERENCE) - 0.4)] * 6))  # unlike its neighbours
    surrogate = Surrogate(replace(POINTS, points=(odd, *POINTS.points[1:])), ROUGH)
    found = np.array([World(surrogate, seed).log_error(REFERENCE) for seed in range(200)])
    posterior = surrogate.noise / math.sqrt(6)  # of a mean of six runs
    assert found.mean() == pytest.approx(truth(REFERENCE) - 0.4, abs=2 * posterior)
    assert found.std() < 1.5 * posterior


@pytest.mark.parametrize("kind", ["surrogate", pytest.param("rough", marks=pytest.mark.slow)])
def test_worlds_scatter_as_much_as_the_process_does_not_know(kind: str, request: pytest.FixtureRequest) -> None:
    surrogate: Surrogate = request.getfixturevalue(kind)
    params = REFERENCE | {"rotation": 17.0, "lr": 0.03, "shift": 0.5}
    at = surrogate.encode(params)[None]
    known = surrogate.covariance(at) @ surrogate.solve(surrogate.covariance(at)[0])
    variance = surrogate.spread**2 - float(known[0]) + surrogate.roughness**2
    found = [World(surrogate, seed).log_error(params) for seed in range(400)]
    assert np.var(found) / surrogate.scale**2 == pytest.approx(variance, rel=0.25)


def test_a_world_is_one_function(surrogate: Surrogate) -> None:
    assert World(surrogate, 3).log_error(REFERENCE) == World(surrogate, 3).log_error(REFERENCE)
    assert World(surrogate, 3).log_error(REFERENCE) != World(surrogate, 4).log_error(REFERENCE)


def test_a_simulated_curve_has_the_shape_of_a_recorded_one_of_about_as_many_errors(surrogate: Surrogate) -> None:
    value = POINTS.points[7].value
    nearest = sorted(POINTS.points, key=lambda point: abs(log_error(point.value) - log_error(value)))[:10]
    assert surrogate.draw_curve(log_error(value), np.random.default_rng(0)) in [
        pytest.approx(
            [to_accuracy(log_error(each) + log_error(value) - log_error(point.value)) for each in point.curve]
        )
        for point in nearest
    ]


@pytest.mark.parametrize("sampler", [name for name in CANDIDATES if not name.startswith("gp")])
def test_a_simulated_search_begins_with_the_reference_and_keeps_to_its_cost(surrogate: Surrogate, sampler: str) -> None:
    lab = Lab(surrogate, 0)
    trials = search(lab, sampler, make_pruner("none"), 10 * EPOCHS + 1, seed=0)
    assert [trial.cost for trial in trials] == [EPOCHS * (index + 1) for index in range(10)]
    assert trials[0].truth == lab.world.log_error(REFERENCE)
    again = search(Lab(surrogate, 0), sampler, make_pruner("none"), 10 * EPOCHS + 1, seed=0)
    assert again == trials


def test_what_is_pruned_costs_less_and_has_no_value(surrogate: Surrogate) -> None:
    pruner = optuna.pruners.PercentilePruner(75.0, n_startup_trials=3, n_warmup_steps=2)
    trials = search(Lab(surrogate, 0), "random", pruner, 25 * EPOCHS, seed=0)
    costs = np.diff([0, *(trial.cost for trial in trials)])
    assert {bool(cost == EPOCHS) for trial, cost in zip(trials, costs, strict=True) if trial.value is not None} == {
        True
    }
    assert len(trials) > 25
    assert any(trial.value is None for trial in trials)


def trial(truth: float, value: float | None) -> Trial:
    return Trial(truth=truth, value=value, cost=0)


class SilentLab(Lab):
    """Runs have no noise, and are counted."""

    def __init__(self) -> None:
        self.runs: list[float] = []

    def run(self, truth: float, number: int | None = None) -> float:
        self.runs.append(truth)
        return to_accuracy(truth)


LUCKY, GOOD, FIRST, PRUNED = trial(5.0, 99.9), trial(3.0, 99.5), trial(4.0, 99.0), trial(1.0, None)
TRIALS = [FIRST, LUCKY, GOOD, PRUNED]


def test_without_re_ranking_the_luckiest_wins_and_with_it_the_best() -> None:
    assert Rule(leading=0, runs=0).choose(TRIALS, SilentLab()) == LUCKY
    assert Rule(leading=2, runs=2).choose(TRIALS, SilentLab()) == GOOD
    assert Rule(leading=1, runs=1).choose(TRIALS, SilentLab()) == FIRST
    assert Rule(leading=1, runs=1, with_first=False).choose(TRIALS, SilentLab()) == LUCKY


def test_the_searched_run_counts_where_runs_are_pooled() -> None:
    lucky, good = trial(math.log(0.61), 99.9), trial(math.log(0.6), 99.5)
    assert Rule(leading=2, runs=1, with_first=False).choose([good, lucky], SilentLab()) == good
    assert Rule(leading=2, runs=1, with_first=False, pooled=True).choose([good, lucky], SilentLab()) == lucky


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_rule_takes_no_more_runs_than_it_says(rule: Rule) -> None:
    many = [FIRST, *(trial(3.0 + 0.01 * index, 99.5 + 0.01 * index) for index in range(20))]
    lab = SilentLab()
    rule.choose(many, lab)
    assert len(lab.runs) == rule.num_runs


def test_further_runs_of_an_adaptive_rule_go_to_two() -> None:
    lab = SilentLab()
    assert Rule(leading=2, runs=3, adaptive=True).choose(TRIALS, lab) == GOOD
    assert sorted(map(lab.runs.count, {3.0, 4.0, 5.0})) == [1, 4, 4]


def test_rules_differ_in_name() -> None:
    assert len({rule.name for rule in RULES}) == len(RULES)
    assert RULES[0] == DEFAULT_RULE


def test_the_command_compares_all_in_the_same_worlds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samplers, "CANDIDATES", {name: CANDIDATES[name] for name in ("gp", "random")})
    path = tmp_path / "points.json"
    path.write_text(to_json(replace(POINTS, points=POINTS.points[:20])))
    options = ["--points", str(path), "--searches", "2", "--trials", str(FEWEST_TRIALS), "--workers", "0", "--json"]
    ended = CliRunner().invoke(samplers.main, options)
    assert ended.exit_code == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert [budget["smoothness"] for budget in found["budgets"]] == [SMOOTH, ROUGH]
    budget = found["budgets"][0]
    assert {(row["sampler"], row["pruner"]) for row in budget["samplers"]} == {
        (sampler, pruner) for sampler in ("gp", "random") for pruner in ("percentile", "none")
    }
    assert [row["rule"] for row in budget["rules"]] == [rule.name for rule in RULES]
    assert budget["samplers"][0]["beyond_default"] == {"mean": 0.0, "margin": 0.0}
    assert budget["rules"][0]["earned"] == budget["samplers"][0]["earned"]
    unpruned = [row["trials"] for row in budget["samplers"] if row["pruner"] == "none"]
    assert unpruned == [FEWEST_TRIALS - DEFAULT_RULE.num_runs] * 2


def test_what_was_simulated_is_kept_and_not_simulated_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samplers, "CANDIDATES", {"random": CANDIDATES["random"]})
    path, kept = tmp_path / "points.json", tmp_path / "kept"
    path.write_text(to_json(replace(POINTS, points=POINTS.points[:20])))
    options = ["--points", str(path), "--searches", "2", "--trials", str(FEWEST_TRIALS), "--workers", "0", "--json"]

    def budgets(*more: str) -> Any:
        ended = CliRunner().invoke(samplers.main, [*options, *more])
        assert ended.exit_code == 0, ended.output
        return json.loads(ended.stdout)["budgets"]

    first = budgets("--keep", str(kept))
    assert first == budgets()
    monkeypatch.setattr(simulation, "search", None)  # whoever would simulate now, fails
    assert budgets("--keep", str(kept)) == first
    path.write_text(to_json(replace(POINTS, points=POINTS.points[:21])))
    ended = CliRunner().invoke(samplers.main, [*options, "--keep", str(kept)])
    assert isinstance(ended.exception, TypeError)  # other points: nothing of them is kept


@pytest.mark.parametrize(
    ("points", "words"),
    [
        (replace(POINTS, space="another"), "of another space or recipe than this code's"),
        (replace(POINTS, recipe=min(SAME_BUT_FOR_ROUNDING) - 1), "of another space or recipe than this code's"),
        (
            replace(POINTS, points=tuple(replace(point, further=()) for point in POINTS.points)),
            "No point of 'made' was run again",
        ),
    ],
)
def test_points_that_say_nothing_of_this_space_are_one_line(points: Points, words: str, tmp_path: Path) -> None:
    path = tmp_path / "points.json"
    path.write_text(to_json(points))
    ended = CliRunner().invoke(samplers.main, ["--points", str(path), "--workers", "0"])
    assert ended.exit_code == 1
    assert words in ended.stderr


def test_too_few_trials_for_a_rule_are_refused() -> None:
    ended = CliRunner().invoke(samplers.main, ["--trials", str(FEWEST_TRIALS - 1)])
    assert ended.exit_code == 2


def test_points_of_different_lengths_do_not_compare(tmp_path: Path) -> None:
    paths = tmp_path / "one.json", tmp_path / "two.json"
    for path, points in zip(paths, (POINTS, replace(POINTS, epochs=2)), strict=True):
        path.write_text(to_json(points))
    ended = CliRunner().invoke(samplers.main, ["--points", str(paths[0]), "--points", str(paths[1])])
    assert ended.exit_code == 1
    assert "different spaces, lengths or data sets" in ended.stderr


# Points


def random_search(storage: optuna.storages.RDBStorage, *, sampler: str = "random") -> StoredStudy:
    study = optuna.create_study(storage=storage, study_name="drawn", direction="maximize")
    binding = Binding(dataset="mnist", split="s", max_params=MAX_PARAMS, epochs=EPOCHS, space="s")
    facts = StudyFacts(kind=Kind.SEARCH, sampler=sampler, commit="c", versions={"torch": "2"}, **vars(binding))
    facts.write(study)
    for ticket, point in enumerate(POINTS.points[:3]):
        attributes = TrialFacts(
            ticket=ticket, channels=((1,), (2,), (3,)), num_params=point.num_params, precision="bf16", commit="c"
        ).as_attributes()
        study.add_trial(finished(point, attributes))
    return StoredStudy(study, storage)


def finished(point: Point, attributes: dict[str, object]) -> optuna.trial.FrozenTrial:
    return optuna.trial.create_trial(
        params=point.params,
        distributions=distributions(MAX_PARAMS),
        value=point.value,
        intermediate_values=dict(enumerate(point.curve, start=1)),
        user_attrs=attributes,
    )


def test_a_record_of_points_keeps_curves_and_further_runs(storage: optuna.storages.RDBStorage, tmp_path: Path) -> None:
    stored = random_search(storage)
    reranking = optuna.create_study(storage=storage, study_name=KINDS[Kind.RERANK].name("drawn"), direction="maximize")
    StudyFacts(kind=Kind.RERANK).write(reranking)
    numbers = {name: optuna.distributions.IntDistribution(0, 9) for name in ("trial", "run")}
    for run, value in ((1, 98.5), (0, 98.0)):
        params = {"trial": 2, "run": run}
        reranking.add_trial(optuna.trial.create_trial(params=params, distributions=numbers, value=value))
    found = read_points(stored)
    assert [point.curve for point in found.points] == [point.curve for point in POINTS.points[:3]]
    assert [point.value for point in found.points] == [point.value for point in POINTS.points[:3]]
    assert [point.params for point in found.points] == [point.params for point in POINTS.points[:3]]
    assert [point.further for point in found.points] == [(), (), (98.0, 98.5)]
    assert (found.precision, found.max_params, found.commit) == ("bf16", MAX_PARAMS, "c")
    path = tmp_path / "points.json"
    path.write_text(to_json(found))
    assert read(Points, path) == found


def test_points_of_another_study_are_put_behind_and_what_both_have_is_a_further_run() -> None:
    known = POINTS.points[0]
    again = replace(known, curve=(*known.curve[:-1], 98.7), value=98.7)
    first, second = (
        replace(POINTS, points=POINTS.points[:3]),
        replace(POINTS, points=(again, POINTS.points[4])),
    )
    joined = join(first, second)
    assert joined.points[1:] == (*POINTS.points[1:3], POINTS.points[4])
    assert joined.points[0] == replace(known, further=(*known.further, 98.7, *known.further))
    with pytest.raises(ExplainedError, match="has these very runs already"):
        join(joined, first)


@pytest.mark.parametrize("change", [{"recipe": RECIPE + 1}, {"max_params": 3}, {"space": "x"}, {"precision": "y"}])
def test_points_that_do_not_compare_are_not_joined(change: dict[str, Any]) -> None:
    with pytest.raises(ExplainedError, match=f"of another {next(iter(change))}"):
        join(POINTS, replace(POINTS, **change))


def test_points_that_a_sampler_chose_are_refused(storage: optuna.storages.RDBStorage) -> None:
    with pytest.raises(ExplainedError, match="--sampler random"):
        read_points(random_search(storage, sampler="tpe"))


def test_points_of_a_warm_start_are_refused(storage: optuna.storages.RDBStorage) -> None:
    stored = random_search(storage)
    StudyFacts(warm_start="other").write(stored.study)
    with pytest.raises(ExplainedError, match="--sampler random"):
        read_points(stored)


def test_points_of_which_some_were_pruned_are_refused(storage: optuna.storages.RDBStorage) -> None:
    stored = random_search(storage)
    diverged = TrialFacts(prune_reason="diverged").as_attributes()
    stored.study.add_trial(optuna.trial.create_trial(state=optuna.trial.TrialState.PRUNED, user_attrs=diverged))
    assert len(read_points(stored).points) == 3
    stored.study.add_trial(optuna.trial.create_trial(state=optuna.trial.TrialState.PRUNED))
    with pytest.raises(ExplainedError, match="--sampler random --pruner none"):
        read_points(stored)
