"""A proof in words: the verdict, its evidence, the table of seeds, and the page beside the record."""

import math

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..proof.estimates import MANY_SEEDS, set_error
from ..proof.evidence import Proof
from ..proof.parts import describe_environment
from ..proof.tested import Tested
from .words import describe_seeds, escape_markdown

STYLES = {True: "bold green", False: "bold red", None: "bold yellow"}


def verdict(proof: Proof) -> str:
    """The verdict in one sentence."""
    n, passed, target = len(proof.seeds), proof.num_passed, f"{proof.target:.15g} %"
    if proof.confirmed is None:
        return (
            f"NOT JUDGED: {target} is a claim about a complete set of test images; it cannot be judged on the "
            f"{proof.num_images:,} of the {proof.dataset}."
        )
    bar = f"{target} on the {proof.num_images:,} test images (at most {proof.max_errors} errors)"
    if proof.confirmed:
        return f"CONFIRMED: {f'every one of {n} fresh seeds' if n > 1 else 'the one fresh seed'} reaches {bar}."
    return f"NOT CONFIRMED: {n - passed} of {n} fresh seeds miss {bar}."


def evidence(proof: Proof) -> list[str]:
    """What the verdict rests on, and how far it carries, one sentence each."""
    n = len(proof.seeds)
    words = f"Minimum {proof.min:.2f} %, mean {proof.mean:.3f} %"
    if n > 1 and proof.ci95 is None:
        words += f"; all {n} make as many errors, and equal counts tell no spread: there is no interval"
    elif proof.ci95 is not None:
        low, high = proof.ci95
        words += f", standard deviation {proof.std:.3f} points; 95 % interval of the mean {low:.3f} to {high:.3f} %"
    lost = [row.seed for row in proof.seeds if row.errors == proof.num_images]
    if lost:
        words += f". Counted as wrong on every image, as a run that diverges is: {describe_seeds(lost)}"
    margin = set_error(proof.mean, proof.num_images)
    lines = [f"{words}.", f"That covers seeds on this test set; the set's own size adds about ±{margin:.2f} points."]
    if proof.confirmed is not None and proof.num_passed:
        lines.append(
            f"{proof.num_passed} of {n} proves, at 95 % confidence, that at least "
            f"{math.floor(1000 * proof.pass_share_lower95) / 10} % of all seeds reach the target"
            + (f"; {MANY_SEEDS} of {MANY_SEEDS} would prove 95 %." if proof.num_passed == n < MANY_SEEDS else ".")
        )
    lines.append(
        f"Each image is classified by the mean of {proof.views}. By one view alone: minimum {proof.one_view.min:.2f} "
        f"%, mean {proof.one_view.mean:.3f} %."
    )
    lines += _describe_asked(proof)
    lines += [f"Another attempt: {_describe_attempt(row)}." for row in proof.earlier_attempts]
    if proof.other_looks:
        looks = [
            f"{row.command} of trial {row.trial} of {row.study_name} ({row.num_runs})" for row in proof.other_looks
        ]
        lines.append(f"Test accuracies were also shown by {', '.join(looks)}.")
    return [*lines, _provenance(proof)]


def _describe_asked(proof: Proof) -> list[str]:
    """What was asked for, and what came of it."""
    attempt = "The only attempt" if proof.attempts == 1 else f"One of {proof.attempts} attempts"
    lines = [f"{attempt} at a proof on this data set. The trial is {proof.chosen_by}."]
    if proof.judged and proof.target > proof.asked_target:
        lines.append(
            f"{proof.asked_target:.15g} % was asked for, but {proof.target:.15g} % before, and a bar is not lowered."
        )
    if proof.num_unmeasured:
        lines.append(f"{proof.num_planned} seeds were planned; {proof.num_unmeasured} of them were not measured.")
    others = [row.seed for row in proof.seeds if "verify-best" not in {each.command for each in row.outcomes}]
    if others:
        lines.append(f"Measured by ablate or reproduce: {describe_seeds(others)}. Every measured seed counts.")
    differing = [row.seed for row in proof.seeds if len({each.errors for each in row.outcomes}) > 1]
    if differing:
        lines.append(f"Measured repeatedly, and not alike: {describe_seeds(differing)}. The worst counts.")
    return lines


def _describe_attempt(row: Tested) -> str:
    planned = sorted(set().union(*(asked.range for asked in row.asked)))
    words = f"trial {row.trial} of {row.study_name}, {describe_seeds(planned)}"
    if row.min is None:
        return f"{words}, nothing measured"
    unfinished = f", {row.num_unmeasured} of them not measured" if row.num_unmeasured else ""
    return f"{words}{unfinished}: minimum {row.min:.2f} %, mean {row.mean:.3f} %"


def _provenance(proof: Proof) -> str:
    """What a claim rests on, in one sentence."""
    return (
        f"Rests on: {describe_seeds([row.seed for row in proof.seeds])}, trial {proof.trial} of {proof.study_name}, "
        f"{proof.num_params:,} parameters, epochs: {proof.epochs}, data set {proof.dataset}, "
        f"{describe_environment(proof.environment)}."
    )


def to_markdown(proof: Proof) -> str:
    rows = [f"| {row.seed} | {row.test_accuracy:.2f} | {row.errors} | {row.errors_one_view} |" for row in proof.seeds]
    header = f"| Seed | Test accuracy (%) | Errors of {proof.num_images:,} | With one view |"
    paragraphs = ["\n".join([header, "|---|---|---|---|", *rows]), *map(escape_markdown, evidence(proof))]
    return f"# {escape_markdown(verdict(proof))}\n\n" + "\n\n".join(paragraphs) + "\n"


def proof_report(proof: Proof) -> RenderableType:
    """The table of seeds, the evidence, and the verdict."""
    table = Table(title=Text(f"Trial {proof.trial} of {proof.study_name}"), title_justify="left")
    for heading in ("Seed", "Test accuracy (%)", f"Errors of {proof.num_images:,}", "With one view"):
        table.add_column(heading, justify="right")
    for row in proof.seeds:
        missed = proof.judged and row.errors > proof.max_errors
        errors = (str(row.errors), str(row.errors_one_view))
        table.add_row(str(row.seed), f"{row.test_accuracy:.2f}", *errors, style="red" if missed else None)
    return Group(table, *map(Text, evidence(proof)), Text(verdict(proof), style=STYLES[proof.confirmed]))
