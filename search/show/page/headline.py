"""What comes first: the verdict, or how far a study has come, and what to do next."""

import shlex
from collections.abc import Sequence

from ...config import PROGRAM
from ...settings import VerifySettings
from .. import proof as proof_words
from ..words import plural
from .facts import PageFacts


def headline(facts: PageFacts) -> str:
    """The verdict, or how far the study has come."""
    if facts.proof is not None:
        return proof_words.verdict(facts.proof)
    summary = facts.summary
    if summary.winner is not None and not to_search(facts):
        return f"Not proved yet: trial {summary.winner.number} has won the search, on validation images alone."
    num_left = facts.num_planned - summary.trials.total
    if summary.best is not None and (num_left <= 0 or summary.stalled):
        return f"Searched: {plural(summary.trials.total, 'trial')} done; the leading ones are still to be re-ranked."
    if summary.best is None and summary.trials.pruned and num_left <= 0:
        return f"No winner: {plural(summary.trials.pruned, 'trial')} pruned, none complete. Ask for more --trials."
    if summary.best is not None:
        return f"Under way: {plural(summary.trials.total, 'trial')} of {facts.num_planned} done."
    return "Nothing to see yet: no trial is complete."


def next_steps(facts: PageFacts) -> list[tuple[str, str]]:
    """What to do next, each with its command; nothing where all is done.

    Whatever was searched meanwhile, a command finds this study: it names it, or what it is bound to.
    """
    summary = facts.summary
    if to_search(facts) or (summary.winner is None and summary.best is not None):
        return [("Finish the search", facts.commands[0])]
    if summary.winner is not None and facts.proof is None:
        target = ("--target", "PERCENT") if summary.target is None else ()  # for the user to say
        return [("Prove the winner", _command(facts, "verify-best", "--seeds", str(VerifySettings.seeds), *target))]
    if facts.proof is not None and facts.ladder is None:
        return [("See what each method earned", _command(facts, "ablate"))]
    return []


def to_search(facts: PageFacts) -> bool:
    """Whether trials are left to be done: then nobody has won."""
    return facts.summary.trials.total < facts.num_planned and not facts.summary.stalled


def _command(facts: PageFacts, *words: str) -> str:
    return command_line([*words, *facts.places], facts.remark)


def command_line(words: Sequence[str], remark: str | None) -> str:
    return f"{PROGRAM} {shlex.join(words)}" + (f"  # {remark}" if remark is not None else "")
