"""Keeps the dashboard's notes true: what a study is, how to read it, and which trial leads."""

from optuna.trial import FrozenTrial

from ..config import PROGRAM
from ..studies.facts import TrialFacts
from ..studies.kinds import Kind
from ..studies.optuna_private import trials_noted, writable
from ..studies.study import StoredStudy
from .words import escape_markdown, format_network

# What the studies that follow a search are, and how to read them: the dashboard takes them for searches.
FOLLOWERS = {
    Kind.RERANK: (
        "Further runs of the leading trials of **{search}**, by other seeds, on validation images. The mean of each "
        "trial's runs decides who wins: the *best trial* of this page is only the luckiest run, and an importance of "
        "`run` means nothing. `trial` is the number in {search}."
    ),
    Kind.VERIFY: (
        "The proof of trial {trial} of **{search}**. Each trial here is the same network, trained from another seed on "
        "all training images, and measured once on the test images. Every seed counts: do not pick the *best trial* of "
        "this page, and read no importance of `seed`. The verdict is in the search's results, in `verify.md`."
    ),
    Kind.ABLATE: (
        "The recipe of trial {trial} of **{search}**, taken apart. `rung` says which methods a run has. All are "
        "measured on the test images, for the record: nothing is picked by it, least of all the *best trial* of this "
        "page."
    ),
    Kind.REPRODUCE: (
        "A recorded proof, repeated: each trial here is a seed of it, trained again. What counts is whether it makes "
        "the recorded errors, not which is best."
    ),
}
WON = "Winner of the re-ranking: "  # so a winner's note begins


def explain_follower(follower: StoredStudy) -> None:
    """Writes the note on a study that follows a search: whose it is, and how to read it. A search has others."""
    from optuna_dashboard import save_note

    facts = follower.facts
    words = FOLLOWERS.get(follower.kind or Kind.SEARCH)
    if words is not None:
        search = escape_markdown(facts.search_study or follower.name)
        save_note(follower.study, words.format(search=search, trial=facts.trial))


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
        from optuna_dashboard import save_note

        self.update()
        study = self._search.study
        for trial in trials_noted(study, WON):
            if trial.number != winner.number:
                save_note(writable(study, trial), "It has won an earlier re-ranking. Another trial has won since.")
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
            paragraphs.append(f"**{WON}{described}.** `{PROGRAM} verify-best` proves it.")
            save_note(writable(study, winner), f"{WON}{described}.")
        save_note(study, "\n\n".join(paragraphs))


def describe_objective(dataset: str, max_params: int, epochs: int) -> str:
    """What a search looks for, and what its numbers are."""
    return (
        f"Tiny networks (data set: {escape_markdown(dataset)}) of at most **{max_params:,} parameters**, trained for "
        f"at most **{epochs} epochs**. The objective is the accuracy on held-out *validation* images, in percent, "
        "after the last epoch, with all views of each image; intermediate values are those of one view. A search never "
        "opens the test images. `num_params`, `channels` and `epochs` are user attributes of every trial."
    )


def _describe_network(trial: FrozenTrial) -> str:
    facts = TrialFacts.of_network(trial)
    return f"{facts.num_params:,} parameters, channels {format_network(facts)}"
