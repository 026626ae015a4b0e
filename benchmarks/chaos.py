"""Chaos: commands are hit by signals at random moments, and started again, until they have ended by themselves.

Nothing may be lost, done twice, left running or left half-written. The commands are the real ones, on the bundled
digits. All draws derive from the seed, the phase and the number of the round; when a signal strikes in a command's work
also depends on how busy the machine is.
"""

import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import get_args

import click
from rich.console import Group
from rich.table import Table

from benchmarks.aftermath import RESULTS, Aftermath, differences, look_at, opened
from benchmarks.command import Benchmark, finish, tell
from benchmarks.disturbance import Aim, Ended, Place
from benchmarks.records import Chaos, Phase, Round, Shot, SignalName, Since, Target, read, to_json
from search.commands.options import json_option
from search.config import ExplainedError
from search.files import write_atomically
from search.net.device import num_cores
from search.provenance import Code, versions
from search.studies.finding import load_studies
from search.studies.space import load_space

RECORD = Path("results") / "reference" / "chaos.json"
STUDY = "chaos"
SEARCH = ("search", "--dataset", "sample", "--epochs", "2", "--max-params", "1000", "--study-name", STUDY,
          "--trials", "6", "--sampler", "random", "--workers", "2", "--quiet")  # fmt: skip
FOLLOW = ("--workers", "2", "--quiet")
# In this order: each goes on from what those before it have left. A sampler that learns would make of two workers' race
# another search each time; drawn at random, a trial depends on its ticket alone.
COMMANDS: dict[Phase, tuple[str, ...]] = {
    "search": (*SEARCH, "--rerank", "0"),
    "re-ranking": (*SEARCH, "--rerank", "3"),
    "proof": ("verify-best", "--seeds", "6", *FOLLOW),
    "ladder": ("ablate", "--seeds", "1", *FOLLOW),
    "reproduction": ("reproduce", f"{RESULTS}/{STUDY}", "--seeds", "6", *FOLLOW),
}
COMBINATIONS = tuple(product(get_args(SignalName), get_args(Target)))
MORE_SHOTS = 0.25  # the probability that a command that was hit and started again is hit again


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A phase, undisturbed.

    Attributes:
        before: The folder as the command finds it.
        study: The name of the study that it works on.
        undisturbed: What it leaves.
        seconds: That it takes.
        first_worker: Of these, until its first worker starts.
    """

    phase: Phase
    before: Path
    study: str
    undisturbed: Aftermath
    seconds: float
    first_worker: float


def prepare(phases: Sequence[Phase], folder: Path) -> dict[Phase, Stage]:
    """Runs the commands one after the other, up to the last of these phases.

    Raises:
        ExplainedError: If one fails.
    """
    stages: dict[Phase, Stage] = {}
    work = folder / "undisturbed"
    work.mkdir()
    for phase, words in COMMANDS.items():
        before = Path(shutil.copytree(work, folder / f"before {phase}"))
        known = studies_in(work)
        place = Place(folder=work)
        ended = place.run(words)
        if ended.faults or ended.first_worker is None:
            raise ExplainedError(f"Undisturbed, {phase} fails: {', '.join(ended.faults) or 'no worker was seen'}.")
        [study] = studies_in(work) - known
        stages[phase] = Stage(
            phase=phase,
            before=before,
            study=study,
            undisturbed=look_at(work, study),
            seconds=ended.seconds,
            first_worker=ended.first_worker,
        )
        if stages.keys() >= set(phases):
            break
    return stages


def studies_in(folder: Path) -> set[str]:
    if not (folder / "study.db").exists():
        return set()
    with opened(folder) as storage:
        return {stored.name for stored in load_studies(storage)}


def draw_aims(seed: int, phase: Phase, index: int, seconds: float, first_worker: float) -> Iterator[Aim]:
    """What hits the command of a round, first and in its next starts: each signal and target takes its turn."""
    generator = random.Random(f"{seed} {phase} {index}")
    combination = COMBINATIONS[index % len(COMBINATIONS)]
    while True:
        name, target = combination
        moment = generator.uniform(first_worker if target == "worker" else 0.0, seconds)
        since: Since = "start" if moment < first_worker else "first worker"
        delay = round(moment if since == "start" else moment - first_worker, 3)
        yield Aim(signal=name, target=target, since=since, delay=delay, seed=generator.randrange(2**31))
        if generator.random() >= MORE_SHOTS:
            return
        combination = generator.choice(COMBINATIONS)


def run_round(stage: Stage, seed: int, index: int, folder: Path) -> Round:
    """Hits a command, and starts it again until it has ended by itself; then looks at what is left."""
    begun = time.monotonic()
    place = Place(folder=Path(shutil.copytree(stage.before, folder / "round")))
    starts: list[Ended] = []
    try:
        for aim in draw_aims(seed, stage.phase, index, stage.seconds, stage.first_worker):
            starts.append(place.run(COMMANDS[stage.phase], aim))
            if starts[-1].exit_code == 0:
                break
        if starts[-1].exit_code != 0:
            starts.append(place.run(COMMANDS[stage.phase]))
        found = look_at(place.folder, stage.study)
    finally:
        left = place.end_all()
        shutil.rmtree(place.folder)
    return Round(
        phase=stage.phase,
        index=index,
        shots=tuple(ended.shot for ended in starts if ended.shot is not None),
        starts=len(starts),
        trials=len(found.outcomes),
        interrupted=found.interrupted,
        partial=found.partial,
        seconds=round(time.monotonic() - begun, 1),
        violations=(
            *(fault for ended in starts for fault in ended.faults),
            *found.faults,
            *differences(found, stage.undisturbed),
            *(f"a process was left: {words}" for words in left),
        ),
    )


def num_hits(rounds: Sequence[Round], phase: Phase) -> int:
    """How many signals hit a command of this phase."""
    return sum(shot.hit for each in rounds if each.phase == phase for shot in each.shots)


def sum_up(rounds: Sequence[Round], seed: int, code: Code) -> Chaos:
    hits = Counter(f"{each.phase} {shot.signal} {shot.target}" for each in rounds for shot in each.shots if shot.hit)
    return Chaos(
        code=code.hash,
        seed=seed,
        num_cores=num_cores(),
        counts=dict(sorted(hits.items())),
        violations=tuple(f"{each.phase} {each.index}: {what}" for each in rounds for what in each.violations),
        rounds=tuple(rounds),
        commit=code.commit,
        versions=versions(),
    )


def rounds_to_do(
    rounds: list[Round], phases: Sequence[Phase], moments: int, seed: int, folder: Path
) -> Iterator[Round]:
    """Runs a round of each phase in turn, until so many signals have hit it.

    Args:
        rounds: Those that are done; whoever takes one from here adds it there.
    """
    wanted = {phase: moments - num_hits(rounds, phase) for phase in phases if num_hits(rounds, phase) < moments}
    if not wanted:
        return
    stages = prepare(list(wanted), folder)
    seconds = sum(1.5 * stages[phase].seconds * missing for phase, missing in wanted.items())  # hit, and started again
    tell(f"{sum(wanted.values())} moments to go: about {seconds / 60:.0f} minutes.")
    while wanted:
        for phase in wanted:
            done = {each.index for each in rounds if each.phase == phase}
            yield run_round(stages[phase], seed, next(index for index in count() if index not in done), folder)
        wanted = {phase: missing for phase, missing in wanted.items() if num_hits(rounds, phase) < moments}


def read_rounds(path: Path, seed: int, code: Code) -> list[Round]:
    """The rounds that were done before; raises ExplainedError if they were of something else."""
    try:
        recorded = read(Chaos, path)
    except FileNotFoundError:
        return []
    if (recorded.code, recorded.seed) != (code.hash, seed):
        raise ExplainedError(
            f"{path} has rounds of other code (at {recorded.commit[:12]}), or of another seed ({recorded.seed}). Move "
            f"it away, or name another --record."
        )
    return list(recorded.rounds)


@click.command(cls=Benchmark)
@click.option("--moments", type=click.IntRange(min=1), default=30, show_default=True, help="Signals that hit, a phase.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of all draws.")
@click.option("--phase", "phases", multiple=True, type=click.Choice(list(COMMANDS)), help="Default: all.")
@click.option("--round", "index", type=click.IntRange(min=0), help="This round of each phase only, without a record.")
@click.option(
    "--record",
    type=click.Path(path_type=Path, dir_okay=False),
    default=RECORD,
    show_default=True,
    help="The file that gets each round when it is done; rounds that it holds are not done again.",
)
@json_option
def main(moments: int, seed: int, phases: tuple[Phase, ...], index: int | None, record: Path, as_json: bool) -> None:
    """Hits commands by signals at random moments, and looks at what they leave; takes an hour or two on two cores."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: nothing that was started may be left
    code = Code.at_hand(load_space().path)
    phases = phases or get_args(Phase)
    with TemporaryDirectory() as folder:
        if index is not None:
            stages = prepare(phases, Path(folder))
            rounds = [run_round(stages[phase], seed, index, Path(folder)) for phase in phases]
        else:
            rounds = read_rounds(record, seed, code)
            for done in rounds_to_do(rounds, phases, moments, seed, Path(folder)):
                tell(_describe(done))
                rounds.append(done)
                write_atomically(record, to_json(sum_up(rounds, seed, code)) + "\n")
    finish(sum_up(rounds, seed, code), report, as_json=as_json)


def _describe(done: Round) -> str:
    shots = ", ".join(_describe_shot(shot) for shot in done.shots)
    violations = "; ".join(done.violations) or "as promised"
    return f"{done.phase} {done.index} ({done.seconds:.0f} s): {shots}: {violations}"


def _describe_shot(shot: Shot) -> str:
    when = f"{shot.delay:.1f} s after {shot.since}" if shot.hit else "too late"
    return f"{shot.signal} to the {shot.target} {when} (exit code {shot.exit_code})"


def report(measured: Chaos) -> Group:
    table = Table(title="Signals that hit a command")
    for heading in ("Signal", "To", *get_args(Phase)):
        table.add_column(heading, justify="left" if heading in ("Signal", "To") else "right")
    for name, target in COMBINATIONS:
        counts = (measured.counts.get(f"{phase} {name} {target}", 0) for phase in get_args(Phase))
        table.add_row(name, target, *map(str, counts))
    rounds = measured.rounds
    return Group(
        table,
        f"{len(rounds)} rounds, {sum(each.starts for each in rounds)} starts, {sum(each.trials for each in rounds)} "
        f"trials finished, {sum(each.interrupted for each in rounds)} cut off and tried again.",
        *(measured.violations or ["Nothing lost, done twice, left running or left half-written."]),
    )


if __name__ == "__main__":
    main()
