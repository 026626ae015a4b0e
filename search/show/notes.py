"""Keeps the dashboard's notes true: what a search is, and which trial leads."""

from optuna.trial import FrozenTrial

from ..config import PROGRAM
from ..studies.facts import TrialFacts
from ..studies.optuna_private import writable
from ..studies.study import StoredStudy
from .words import format_network


class NoteKeeper:
    """Writes the notes of a search where its leader has changed."""

    def __init__(self, search: StoredStudy) -> None:
        self._search = search
        self._noted: object = object()  # nothing yet

    def update(self) -> None:
        """Writes the notes where the leader has changed."""
        best = self._search.best_trial()
        leader = best.number if best is not None else None
        if leader != self._noted:
            self._write(best)
            self._noted = leader

    def name_winner(self, winner: FrozenTrial, mean: float) -> None:
        """Writes which trial has won the re-ranking, with the mean accuracy of its further runs."""
        self.update()
        self._write(self._search.best_trial(), winner, mean)
        self._noted = object()  # a later leader replaces it

    def _write(self, best: FrozenTrial | None, winner: FrozenTrial | None = None, mean: float | None = None) -> None:
        from optuna_dashboard import save_note

        study, binding = self._search.study, self._search.binding
        paragraphs = [describe_objective(binding.dataset, binding.max_params, binding.epochs)]
        if best is not None:
            described = f"trial {best.number}, {best.value:.2f} % with {_describe_network(best)}"
            paragraphs.append(f"Best single run so far: {described}.")
            note = f"The best when it ended: {described}. Re-ranking decides what `{PROGRAM} verify-best` proves."
            save_note(writable(study, best), note)
        if winner is not None:
            described = (
                f"trial {winner.number}, {mean:.3f} % on average over its further runs, {_describe_network(winner)}"
            )
            paragraphs.append(f"**Winner of the re-ranking: {described}.** `{PROGRAM} verify-best` proves it.")
            save_note(writable(study, winner), f"Winner of the re-ranking: {described}.")
        save_note(study, "\n\n".join(paragraphs))


def describe_objective(dataset: str, max_params: int, epochs: int) -> str:
    """What a search looks for, and what its numbers are."""
    return (
        f"Tiny networks (data set: {dataset}) of at most **{max_params:,} parameters**, trained for at most **{epochs} "
        "epochs**. The objective is the accuracy on held-out *validation* images, in percent, after the last epoch, "
        "with all views of each image; intermediate values are those of one view. A search never opens the test "
        "images. `num_params`, `channels` and `epochs` are user attributes of every trial."
    )


def _describe_network(trial: FrozenTrial) -> str:
    facts = TrialFacts.of_network(trial)
    return f"{facts.num_params:,} parameters, channels {format_network(facts)}"
