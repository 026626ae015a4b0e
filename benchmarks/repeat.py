"""Repetition: a search with one worker, made undisturbed, and made again while it is hit and resumed: the same study?

Compared are, by ticket, every finished trial (parameters, all epochs' accuracies, losses, seed, outcome), the further
runs, the weights of the kept models, and the summary. Left out is what tells of the interruptions or the time: numbers
of trials, epochs trained in all, seconds and memory.
"""

import json
import random
import signal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
from optuna.trial import TrialState
from rich.console import Group
from rich.table import Table
from safetensors.torch import load_file

from benchmarks.aftermath import RESULTS, look_at, opened, outcome_of
from benchmarks.command import Benchmark, finish, tell
from benchmarks.disturbance import Aim, Place
from benchmarks.records import Repeat, RepeatedStudy, SignalName, Target
from search.commands.options import json_option
from search.config import ExplainedError
from search.proof.summaries import StudySummary
from search.provenance import Code, versions
from search.runs.models import WINNER_MODEL
from search.settings import BEST_MODEL, SearchSettings
from search.studies.facts import TrialFacts
from search.studies.kinds import KINDS, Kind
from search.studies.space import load_space
from search.studies.study import FINISHED, StoredStudy

STUDY = "repeat"
RERANKED = KINDS[Kind.RERANK].name(STUDY)
EPOCHS, TRIALS = 7, 26  # enough for the pruner to prune, and for the sampler to have learned
SHOTS: tuple[tuple[SignalName, Target], ...] = (("SIGKILL", "group"), ("SIGINT", "group"), ("SIGKILL", "worker"))

MODELS = (BEST_MODEL, WINNER_MODEL)
OF_TIME = ("seconds", "peak_memory_mb", "interrupted", "trained")
NUMBERS = ("number", "trial", "winner", "first", "tied")  # what trials' numbers stand under, where they are numbers


def command_for(seed: int) -> list[str]:
    options = {"epochs": EPOCHS, "trials": TRIALS, "rerank": 2, "seed": seed, "max-params": 1_000, "workers": 1}
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    return ["search", "--dataset", "sample", "--study-name", STUDY, "--quiet", *words]


def draw_aims(seed: int, seconds: float, first_worker: float) -> list[Aim]:
    """Each within a third of the undisturbed search, so that there is still something to hit."""
    generator = random.Random(seed)
    longest = (seconds - first_worker) / len(SHOTS)
    return [
        Aim(signal=name, target=target, since="first worker", delay=round(generator.uniform(0, longest), 3))
        for name, target in SHOTS
    ]


def describe(folder: Path) -> dict[str, Any]:
    """A search, as it has to be again: by name, what is compared."""
    results = folder / RESULTS / STUDY
    with opened(folder) as storage:
        trials = StoredStudy.load(storage, STUDY).trials()
        runs = StoredStudy.load(storage, RERANKED).trials(FINISHED)
    tickets = {trial.number: TrialFacts.of(trial).ticket for trial in trials}
    summary = StudySummary.read(results / "summary.json")
    return {
        "trials": sorted((tickets[trial.number], outcome_of(trial)) for trial in trials if trial.state in FINISHED),
        "runs": sorted(by_ticket(json.loads(outcome_of(run)), tickets) for run in runs),
        "summary": by_ticket(summary.model_dump(mode="json"), tickets),
        **{name: {key: tensor.tolist() for key, tensor in load_file(results / name).items()} for name in MODELS},
    }


def by_ticket(value: Any, tickets: dict[int, int | None]) -> str:
    """A record as JSON, with tickets in the place of trials' numbers, and without what tells of the time."""

    def convert(found: Any, key: str = "") -> Any:
        if isinstance(found, dict):
            return {name: convert(each, name) for name, each in found.items() if name not in OF_TIME}
        if isinstance(found, list | tuple):
            return [convert(each, key) for each in found]
        return tickets[found] if key in NUMBERS and isinstance(found, int) else found

    return json.dumps(convert(value), sort_keys=True)


def repeat(seed: int, folder: Path) -> RepeatedStudy:
    """Makes a search twice, and compares.

    Raises:
        ExplainedError: If it cannot be made.
    """
    undisturbed, hit = Place(folder=folder / "undisturbed"), Place(folder=folder / "hit")
    for place in (undisturbed, hit):
        place.folder.mkdir()
    command = command_for(seed)
    ended = undisturbed.run(command)
    if ended.faults or ended.first_worker is None:
        raise ExplainedError(f"The search fails: {', '.join(ended.faults)}.")
    starts = [hit.run(command, aim) for aim in draw_aims(seed, ended.seconds, ended.first_worker)]
    if starts[-1].exit_code != 0:
        starts.append(hit.run(command))
    left = hit.end_all()
    once, again = describe(undisturbed.folder), describe(hit.folder)
    found = [look_at(hit.folder, name) for name in (STUDY, RERANKED)]
    faults = [*(fault for each in starts for fault in each.faults), *(fault for each in found for fault in each.faults)]
    return RepeatedStudy(
        seed=seed,
        trials=len(found[0].outcomes),
        pruned=sum(json.loads(outcome)["state"] == TrialState.PRUNED.name for outcome in found[0].outcomes.values()),
        runs=len(found[1].outcomes),
        shots=tuple(each.shot for each in starts if each.shot is not None),
        interrupted=sum(each.interrupted for each in found),
        differences=(*(name for name in once if once[name] != again[name]), *faults, *left),
    )


@click.command(cls=Benchmark)
@click.option("--seed", "seeds", multiple=True, type=click.IntRange(min=0), default=(0, 1, 2), show_default=True)
@json_option
def main(seeds: tuple[int, ...], as_json: bool) -> None:
    """Makes searches twice, once undisturbed and once hit and resumed, and compares; takes minutes for each seed."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: nothing that was started may be left
    code = Code.at_hand(load_space().path)
    studies = []
    for seed in seeds:
        with TemporaryDirectory() as folder:
            studies.append(repeat(seed, Path(folder)))
        tell(f"seed {seed}: {', '.join(studies[-1].differences) or 'the same, bit for bit'}")
    measured = Repeat(
        code=code.hash,
        sampler=SearchSettings.sampler,
        pruner=SearchSettings.pruner,
        epochs=EPOCHS,
        studies=tuple(studies),
        commit=code.commit,
        versions=versions(),
    )
    finish(measured, report, as_json=as_json)


def report(measured: Repeat) -> Group:
    table = Table(title="A search, undisturbed, and hit and resumed")
    for heading in ("Seed", "Trials", "Pruned", "Further runs", "Hits", "Cut off", "Differences"):
        table.add_column(heading, justify="right")
    for study in measured.studies:
        hits = sum(shot.hit for shot in study.shots)
        counts = (study.seed, study.trials, study.pruned, study.runs, hits, study.interrupted)
        table.add_row(*map(str, counts), ", ".join(study.differences) or "none")
    return Group(table)


if __name__ == "__main__":
    main()
