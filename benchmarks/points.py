"""Random points of the search space, each trained to the end: what samplers, pruners and re-ranking are judged on.

python cli.py search --study-name random-2000 --max-params 2000 --sampler random --pruner none --trials 100 --rerank 10
python -m benchmarks.points --study-name random-2000 > results/reference/points-2000.json

The record keeps of such a study what the other benchmarks need, the further runs of its re-ranking among it. With
`--add`, the points of another study, of another `--seed` say, are put behind those of a record.
"""

from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import click
import optuna
from optuna.trial import FrozenTrial, TrialState

from benchmarks.command import Benchmark
from benchmarks.records import Point, Points, read, to_json
from search.config import ExplainedError
from search.settings import RunSettings
from search.studies.facts import DIVERGED, TrialFacts
from search.studies.finding import find_search_study
from search.studies.kinds import KINDS, Kind
from search.studies.storage import open_storage
from search.studies.study import StoredStudy


def read_points(stored: StoredStudy) -> Points:
    """The complete trials of a study that nothing pruned, its first one first.

    Raises:
        ExplainedError: If there are too few, some were pruned, or they were not drawn at random.
    """
    facts, binding = stored.facts, stored.binding
    trials = sorted(stored.complete_trials(), key=lambda trial: TrialFacts.of(trial).ticket or 0)
    # One that diverged has no value, and is left out.
    reasons = {TrialFacts.of(trial).prune_reason for trial in stored.trials((TrialState.PRUNED,))}
    if facts.sampler != "random" or facts.warm_start is not None or reasons - {DIVERGED}:
        raise ExplainedError(
            f"The points of {stored.name!r} are not random and whole: search with --sampler random --pruner none."
        )
    further = _read_further(stored)
    points = tuple(_read_point(trial, further[trial.number]) for trial in trials)
    if len(points) < 2 or {len(point.curve) for point in points} != {binding.epochs}:
        raise ExplainedError(f"Study {stored.name!r} has no two complete trials of {binding.epochs} epochs.")
    precisions = {TrialFacts.of(trial).precision for trial in trials}
    if len(precisions) > 1:
        raise ExplainedError(f"The trials of {stored.name!r} were trained in more than one precision.")
    [precision] = precisions
    return Points(
        study_name=stored.name,
        dataset=binding.dataset,
        max_params=binding.max_params,
        epochs=binding.epochs,
        space=binding.space,
        recipe=binding.recipe,
        precision=precision or "unknown",
        points=points,
        commit=facts.commit or "unknown",
        versions=facts.versions or {},
    )


def _read_point(trial: FrozenTrial, further: list[float]) -> Point:
    return Point(
        params=trial.params,
        num_params=TrialFacts.of_network(trial).num_params or 0,
        curve=tuple(value for _, value in sorted(trial.intermediate_values.items())),
        value=trial.value or 0.0,
        further=tuple(further),
    )


def _read_further(stored: StoredStudy) -> defaultdict[int, list[float]]:
    """By number of the trial, in the order of the runs."""
    further: defaultdict[int, list[float]] = defaultdict(list)
    reranking = stored.sibling(KINDS[Kind.RERANK].name(stored.name))
    runs = reranking.complete_trials() if reranking is not None else []
    for run in sorted(runs, key=lambda run: run.params["run"]):
        further[run.params["trial"]].append(run.value or 0.0)
    return further


def join(recorded: Points, added: Points) -> Points:
    """Points of two studies: those of the second behind those of the first, the later name, commit and versions.

    What both have, as they have the first trial of every study, is a further run of the first's.

    Raises:
        ExplainedError: If they are of different data sets, budgets, spaces, recipes or precisions.
    """
    for name in ("dataset", "max_params", "epochs", "space", "recipe", "precision"):
        if getattr(recorded, name) != getattr(added, name):
            raise ExplainedError(
                f"The record's points are of another {name} ({getattr(recorded, name)}, not {getattr(added, name)})."
            )
    points = list(recorded.points)
    places = {tuple(sorted(point.params.items())): place for place, point in enumerate(points)}
    for point in added.points:
        place = places.get(tuple(sorted(point.params.items())))
        if place is None:
            points.append(point)
        else:
            known = points[place]
            if known.curve == point.curve:
                raise ExplainedError("The record has these very runs already: the same study, or one of its seed.")
            points[place] = replace(known, further=(*known.further, point.value, *point.further))
    return replace(added, points=tuple(points))


@click.command(cls=Benchmark)
@click.option("--storage", default=RunSettings.storage, show_default=True)
@click.option("--study-name", required=True)
@click.option("--add", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="A record to add to.")
def main(storage: str, study_name: str, add: Path | None) -> None:
    """Prints the points of a random search as a record."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    found = read_points(find_search_study(open_storage(storage), study_name))
    click.echo(to_json(join(read(Points, add), found) if add is not None else found))


if __name__ == "__main__":
    main()
