"""What is not as it should be, in words: a line each."""

from collections.abc import Iterable

from ..proof.summaries import Mend


def mend_lines(mends: Iterable[Mend]) -> list[str]:
    """What is wrong, and what becomes of it."""
    return [f"{mend.what}: {mend.why.rstrip('.')}. {_outcome(mend)}" for mend in mends]


def _outcome(mend: Mend) -> str:
    if mend.how is None:
        return "--fix cannot mend this."
    return "Mended." if mend.done else f"--fix {mend.how}."
