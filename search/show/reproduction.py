"""A reproduction in words: recorded and repeated errors side by side, and how far they agree."""

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..config import RECIPE
from ..proof.parts import describe_environment
from ..proof.reproduction import Reproduction
from .proof import STYLES

VERDICTS = {
    True: "REPRODUCED: what was repeated agrees with the record.",
    False: "NOT REPRODUCED: what was repeated does not agree with the record.",
    None: "NOT JUDGED: a record of one seed has no spread to compare other seeds with.",
}


def agreement(found: Reproduction) -> list[str]:
    """How far the repetition agrees with its record, one sentence each."""
    lines = []
    if found.model_errors is not None:
        agrees = "as recorded" if found.model_agrees else f"not as recorded ({found.recorded_model_errors})"
        lines.append(f"The recorded model makes {found.model_errors} errors, {agrees}.")
    if found.num_earlier:
        num_earlier = f"{found.num_earlier} of {len(found.seeds)}"
        lines.append(f"Trained by an earlier command with this storage, and not again: {num_earlier}.")
    if found.identical is not None:
        lines.append(
            "IDENTICAL: every recorded seed that was repeated makes the recorded number of errors."
            if found.identical
            else _why_not_identical(found)
        )
    if found.within_spread is not None:
        relation = "lies within" if found.within_spread else "LIES OUTSIDE"
        judged = f"mean of {found.num_judged} seeds" if found.num_judged > 1 else "accuracy of one seed"
        lines.append(
            f"The {judged}, {found.mean:.3f} %, {relation} the recorded {found.recorded_mean:.3f} ± "
            f"{found.margin:.3f} % (95 % prediction interval for so many)."
        )
    if found.judged and found.num_missed:
        lines.append(
            f"{found.num_missed} of {len(found.seeds)} seeds miss the proof's {found.target:.15g} %: that is on record "
            f"here, and no verdict on this configuration passes over it."
        )
    lines.append(f"Recorded: {describe_environment(found.recorded_with)}.")
    return [*lines, f"Repeated: {describe_environment(found.environment)}."]


def _why_not_identical(found: Reproduction) -> str:
    alike = {(each.device, each.precision) for each in (found.environment, found.recorded_with)}
    if alike == {("cpu", "fp32")} and found.recipe == RECIPE:
        return (
            "Not identical, though on CPUs in fp32 every seed should repeat. Compare the libraries below; where they "
            "are the same, please report it."
        )
    return "Not identical, as is to be expected of another device, precision or library, or of an old recipe."


def reproduction_report(found: Reproduction) -> RenderableType:
    """The table, how far they agree, and the verdict."""
    table = Table(title=Text(f"Trial {found.trial} of {found.study_name}, repeated"), title_justify="left")
    for heading in ("Seed", "Test accuracy (%)", "Errors", "Recorded errors"):
        table.add_column(heading, justify="right")
    for row in found.seeds:
        words = str(row.recorded_errors) if row.recorded_errors is not None else "not recorded"
        table.add_row(str(row.seed), f"{row.test_accuracy:.2f}", str(row.errors), words)
    sentence = Text(VERDICTS[found.reproduced], style=STYLES[found.reproduced])
    return Group(table, *map(Text, agreement(found)), sentence)
