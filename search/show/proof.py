"""A proof in words: the verdict, its evidence, the table of seeds, and the page beside the record."""

import math

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from search.proof.estimates import MANY_SEEDS
from search.proof.records import Attempt, Proof, describe_environment
from search.show.words import describe_seeds

STYLES = {True: "bold green", False: "bold red", None: "bold yellow"}


def verdict(proof: Proof) -> str:
    """The verdict in one sentence."""
    n, passed, target = len(proof.seeds), proof.num_passed, f"{proof.target:.15g} %"
    if proof.confirmed is None:
        return (
            f"NOT JUDGED: {target} is a claim about a complete set of test digits; it cannot be judged on the "
            f"{proof.num_images:,} of the {proof.dataset}."
        )
    bar = f"{target} on the {proof.num_images:,} test digits (at most {proof.max_errors} errors)"
    if proof.confirmed:
        return f"CONFIRMED: {f'every one of {n} fresh seeds' if n > 1 else 'the one fresh seed'} reaches {bar}."
    if passed == n:
        these = f"these {n} seeds reach" if n > 1 else "this seed reaches"
        return f"NOT CONFIRMED: {these} {bar}, but an earlier attempt at this configuration did not."
    return f"NOT CONFIRMED: {n - passed} of {n} fresh seeds miss {bar}."


def evidence(proof: Proof) -> list[str]:
    """What the verdict rests on, and how far it carries, one sentence each."""
    n = len(proof.seeds)
    words = f"Minimum {proof.min:.2f} %, mean {proof.mean:.3f} %"
    if proof.ci95 is not None:
        low, high = proof.ci95
        words += f", standard deviation {proof.std:.3f} points; 95 % interval of the mean {low:.3f} to {high:.3f} %"
    share = proof.mean / 100
    set_error = 100 * 1.96 * math.sqrt(share * (1 - share) / proof.num_images)
    lines = [f"{words}.", f"That covers seeds on this test set; the set's own size adds about ±{set_error:.2f} points."]
    if proof.confirmed is not None:
        lines.append(
            f"{proof.num_passed} of {n} proves, at 95 % confidence, that at least "
            f"{math.floor(1000 * proof.pass_share_lower95) / 10} % of all seeds reach the target"
            + (f"; {MANY_SEEDS} of {MANY_SEEDS} would prove 95 %." if n < MANY_SEEDS else ".")
        )
    lines.append(
        f"Each digit is classified by the mean of {proof.views}. By one view alone: minimum {proof.one_view.min:.2f} "
        f"%, mean {proof.one_view.mean:.3f} %."
    )
    attempt = "First attempt" if proof.attempts == 1 else f"Attempt {proof.attempts}"
    lines.append(f"{attempt} at a proof on this data set. The trial is {proof.chosen_by}.")
    if proof.earlier_attempts:
        lines.append(f"The other attempts: {'; '.join(map(_describe_attempt, proof.earlier_attempts))}.")
    if proof.other_looks:
        looks = ", ".join(f"{look.study_name} ({look.num_runs} runs)" for look in proof.other_looks)
        lines.append(f"Test accuracies were also shown by {looks}.")
    if proof.num_planned > n:
        lines.append(f"{proof.num_planned} seeds had been planned, and were not all measured.")
    return [*lines, _provenance(proof)]


def _describe_attempt(row: Attempt) -> str:
    words = f"trial {row.trial}, {describe_seeds(row.seeds)}"
    if row.min is None:
        return f"{words}, nothing measured"
    num_measured = row.num_measured if row.num_measured is not None else row.num_seeds
    unfinished = f", {num_measured} measured" if num_measured < row.num_seeds else ""
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
    paragraphs = ["\n".join([header, "|---|---|---|---|", *rows]), *evidence(proof)]
    return f"# {verdict(proof)}\n\n" + "\n\n".join(paragraphs) + "\n"


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
