"""The tool as a library: what its commands do, for programs and notebooks (docs/library.md).

A script that uses it starts its work below `if __name__ == "__main__":`, for each worker is a process that imports the
script anew; with `workers=0` there are none.
"""

from pathlib import Path

from .net.classifier import Classifier
from .proof.evidence import Proof
from .proof.frontier import Frontier
from .proof.parts import Record
from .proof.summaries import StudySummary
from .runs.exporting import crops_of, load_network, proved_model
from .runs.proving import run_verification as _verify
from .runs.searching import run_search as _search
from .runs.session import Ended, RecordType
from .runs.telling import OnTrial
from .runs.tracing import run_frontier as _trace
from .settings import FrontierSettings, SearchSettings, VerifySettings
from .show.screen import QuietScreen, Screen
from .studies.space import Space, load_space

__all__ = [
    "Classifier",
    "Frontier",
    "FrontierSettings",
    "OnTrial",
    "Proof",
    "QuietScreen",
    "Record",
    "Screen",
    "SearchSettings",
    "Space",
    "StudySummary",
    "VerifySettings",
    "load_space",
    "load_winner",
    "run_frontier",
    "run_search",
    "run_verification",
]


def run_search(
    settings: SearchSettings | None = None,
    *,
    space: Space | Path | str | None = None,
    screen: Screen | None = None,
    on_trial: OnTrial | None = None,
) -> StudySummary:
    """What `search` does: finishes a study, be it new or begun.

    Args:
        settings: By default those of the command.
        space: A search space, or the file that defines it; by default the command's.
        screen: What hears of the progress; by default nobody does, but warnings are printed.
        on_trial: Called in this process for each trial that ends, with the study and the trial, as Optuna's callbacks
            are.

    Raises:
        ExplainedError: If the settings contradict each other or what is there; its text is what the command prints.
        KeyboardInterrupt: After Ctrl-C. What is finished is kept, and the same call goes on.
    """
    screen = screen or QuietScreen()
    return _whole(_search(settings or SearchSettings(), _space(space), screen, on_trial))


def run_verification(
    settings: VerifySettings | None = None,
    *,
    space: Space | Path | str | None = None,
    screen: Screen | None = None,
) -> Proof:
    """What `verify-best` does: proves a winner over fresh seeds. `Proof.confirmed` is the verdict. See `run_search`."""
    return _whole(_verify(settings or VerifySettings(), _space(space), screen or QuietScreen()))


def run_frontier(
    settings: FrontierSettings | None = None,
    *,
    space: Space | Path | str | None = None,
    screen: Screen | None = None,
) -> Frontier:
    """What `frontier` does: searches and proofs at several budgets. See `run_search`."""
    return _whole(_trace(settings or FrontierSettings(), _space(space), screen or QuietScreen()))


def load_winner(study_name: str, results_dir: Path | str = "results", *, views: str = "all") -> Classifier:
    """The model of a study's proof, or before there is one the searched winner's, in evaluation mode on the CPU.

    The proved one, too, where another trial has won since.

    Args:
        views: "all", or "1" for the central one alone.

    Raises:
        ExplainedError: If there is neither, its file is damaged, or there are no such views.
    """
    network = load_network(proved_model(Path(results_dir) / study_name))
    return network.classifier(crops_of(views))


def _space(space: Space | Path | str | None) -> Space:
    return space if isinstance(space, Space) else load_space(space)


def _whole(ended: Ended[RecordType]) -> RecordType:
    if ended.interrupted or ended.record is None:
        raise KeyboardInterrupt
    return ended.record
