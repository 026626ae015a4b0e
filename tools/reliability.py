"""The part of a page that shows what this tool withstands: from the benchmarks' records, and the tests at hand."""

import importlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from benchmarks.records import (
    Chaos,
    Crowds,
    LostHost,
    Measurement,
    Phase,
    Repeat,
    Scaling,
    SignalName,
    Tally,
    Target,
    read,
)
from search.config import ExplainedError
from tools.results import REFERENCE

ROOT = Path(__file__).resolve().parent.parent
MOST_TOLD = 5  # violations that are told one by one


@dataclass(frozen=True, kw_only=True)
class Row:
    """A promise, how it was tried, what came of it, and what to type to see it."""

    promise: str
    tried: str
    result: str
    command: str


def reliability() -> str:
    """A table of promises."""
    rows = [
        kills(read(Chaos, REFERENCE / "chaos.json")),
        repetition(read(Repeat, REFERENCE / "repeat.json")),
        *crowds(read(Crowds, REFERENCE / "crowds.json")),
        scaling(read(Scaling, REFERENCE / "scaling.json")),
        bad_inputs(),
        ledger(),
        security(),
    ]
    lines = ["| Promise | How it was tried | Result | Command |", "|---|---|---|---|"]
    lines += [f"| {row.promise} | {row.tried} | {row.result} | `{row.command}` |" for row in rows]
    return "\n".join(lines) + "\n"


def kills(measured: Chaos) -> Row:
    rounds = measured.rounds
    hits = [(each.phase, shot) for each in rounds for shot in each.shots if shot.hit]
    phases = _counted(get_args(Phase), [phase for phase, _ in hits])
    signals = _counted(get_args(SignalName), [shot.signal for _, shot in hits])
    targets = _counted(get_args(Target), [shot.target for _, shot in hits])
    work = sum(shot.at_work for _, shot in hits)
    ignored = sum(shot.target == "worker" and shot.signal != "SIGKILL" for _, shot in hits)
    return Row(
        promise="A command may be killed at any moment. Nothing is lost, and the same command goes on.",
        tried=f"{len(hits)} signals ({signals}) to {targets} at random moments of {phases}; {work} of them "
        f"while workers were at work, and {ignored} such as a worker ignores. Then the same command, until it ended by "
        "itself; in the end every result is compared with an undisturbed command's",
        result=f"{sum(each.starts for each in rounds)} starts, {sum(each.trials for each in rounds)} trials "
        f"finished, {sum(each.interrupted for each in rounds)} cut off on the way and tried again: "
        + _outcome(
            measured.violations,
            "none lost, none done twice, none left running, none with another result; every file whole, no process "
            "left",
        )
        + _at(measured),
        command="python -m benchmarks.chaos --record chaos.json",
    )


def repetition(measured: Repeat) -> Row:
    studies = measured.studies
    hits = sum(shot.hit for study in studies for shot in study.shots)
    [trials] = {study.trials for study in studies}
    return Row(
        promise="With one worker, a seed decides the whole study, interruptions or not.",
        tried=f"{len(studies)} searches of {trials} trials ({measured.sampler} sampler, {measured.pruner} pruner) were "
        f"made twice, the second time hit {hits} times and resumed; compared are parameters, every epoch's accuracy, "
        f"losses, seeds and further runs by ticket, the winner, the weights of its model, and the summary",
        result=f"{sum(study.interrupted for study in studies)} runs cut off, {sum(study.pruned for study in studies)} "
        "pruned: "
        + _outcome([name for study in studies for name in study.differences], "the same, bit for bit")
        + _at(measured),
        command="python -m benchmarks.repeat",
    )


def crowds(measured: Crowds) -> list[Row]:
    """Rows for each kind of crowd; raises ExplainedError if the measurement was cut off."""
    _refuse_interrupted(measured, "crowds.json")
    rows = [
        (
            "However many workers share a study, it gets exactly the trials that were asked for.",
            [
                f"{each.tally.planned:,} sleeping trials by {each.workers} workers on {each.backend}, while the "
                f"dashboard ({each.dashboard_requests:,} requests) and `status` ({each.status_reads:,} times) read"
                for each in measured.crowds
            ],
            [
                f"{each.backend}: {_describe_tally(each.tally)}; {each.dashboard_failures + each.status_failures} "
                "reads failed"
                for each in measured.crowds
            ],
        ),
        (
            "A host that dies takes no trial with it.",
            [
                f"two hosts with {each.workers} workers each on PostgreSQL; one was killed, with {each.held} trials "
                "under way"
                for each in measured.lost_hosts
            ],
            [
                f"{each.taken_over} of {each.held} taken over{_describe_delay(each)}; {_describe_tally(each.tally)}"
                for each in measured.lost_hosts
            ],
        ),
        (
            "The database server may be restarted in mid-search.",
            [
                f"PostgreSQL stopped ({each.mode}) and away for {each.seconds_away:.0f} s, under {each.workers} workers"
                for each in measured.restarts
            ],
            [
                f"{_describe_tally(each.tally)}; the command was started {_times(each.starts)}"
                for each in measured.restarts
            ],
        ),
    ]
    return [
        Row(
            promise=promise,
            tried="; ".join(tried),
            result="; ".join(results) + _at(measured),
            command="python -m benchmarks.crowds",
        )
        for promise, tried, results in rows
        if tried  # what could not be measured has no row
    ]


def _describe_tally(tally: Tally) -> str:
    return (
        f"{tally.finished:,} of {tally.planned:,}, {tally.missing} missing, {tally.twice} twice, {tally.running} left "
        f"running, {tally.interrupted} cut off and tried again"
    )


def _describe_delay(lost: LostHost) -> str:
    if lost.seconds_until_taken_over is None:
        return ""
    return (
        f" after {lost.seconds_until_taken_over:.0f} s (a host counted as dead after {lost.silence:.0f} s of silence)"
    )


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def scaling(measured: Scaling) -> Row:
    """Raises ExplainedError if the measurement was cut off."""
    _refuse_interrupted(measured, "scaling.json")
    rates = ", ".join(f"{row.workers}: {row.trials_per_second:.1f}" for row in measured.rows)
    return Row(
        promise="More workers finish more trials, as far as the server goes.",
        tried=f"sleeping trials of {measured.epochs * measured.epoch_seconds:.1f} s with the real storage, on "
        f"PostgreSQL with {measured.recorded:,} trials recorded before, all on {measured.num_cores} cores",
        result=f"trials per second, by the number of workers: {rates}" + _at(measured),
        command="python -m benchmarks.scaling",
    )


def _refuse_interrupted(measured: Crowds | Scaling, name: str) -> None:
    if measured.interrupted:
        raise ExplainedError(f"{REFERENCE / name} is of a measurement that was interrupted.")


def bad_inputs() -> Row:
    return Row(
        promise="Whatever is wrong with an input, it is told in one line, and the input stays as it is.",
        tried=f"{len(_test_module('cli', 'test_bad_inputs').TABLE)} cases: options, environment variables, and files "
        "that are cut, swapped, foreign or hostile; and options and bytes that are drawn anew in each run",
        result="in every `make check`: the documented exit code and text, no traceback, no file changed",
        command="python -m pytest -m 'slow or not slow' tests/cli/test_bad_inputs.py",
    )


def ledger() -> Row:
    return Row(
        promise="A miss that is on record is never followed by CONFIRMED.",
        tried="sequences of steps that are drawn anew in each run: proofs, interruptions, extensions, ladders, "
        "reproductions, other targets, lost databases and files, another machine",
        result="2 sequences in every run of the tests, 30 in `make check`: not confirmed as long as one witness of the "
        "miss is left",
        command="LEDGER_EXAMPLES=200 python -m pytest -m slow tests/runs/test_ledger_machine.py",
    )


def security() -> Row:
    return Row(
        promise="No pickle is loaded, nothing listens, no password is given away ([SECURITY.md](../SECURITY.md)).",
        tried="every process of a real search is watched from inside (Python's auditor) and from outside; hostile "
        "files in the place of a model, a record and a database",
        result="in every run of `make check`, and in CI",
        command="python -m pytest -m 'slow or not slow' tests/test_security.py",
    )


def _outcome(violations: Sequence[str], promise: str) -> str:
    if not violations:
        return promise
    more = f" and {len(violations) - MOST_TOLD} more" if len(violations) > MOST_TOLD else ""
    return f"**not kept**: {'; '.join(violations[:MOST_TOLD])}{more}"


def _at(measured: Measurement) -> str:
    return f" (commit {measured.commit[:12]})"


def _counted(names: Sequence[str], found: Sequence[str]) -> str:
    """Each name with how often it was found, those that were not included."""
    *most, last = (f"{name} ({found.count(name)})" for name in names)
    return f"{', '.join(most)} and {last}"


def _test_module(folder: str, name: str) -> Any:
    """A module of the tests, found as pytest finds it."""
    added = [str(ROOT / "tests"), str(ROOT / "tests" / folder)]
    sys.path[:0] = added
    try:
        return importlib.import_module(name)
    finally:
        for path in added:
            sys.path.remove(path)
