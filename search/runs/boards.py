"""Brings what a study has come to into the dashboard: notes, figures, and the winner's files."""

import uuid
from pathlib import Path

from optuna_dashboard import save_note, save_plotly_graph_object

from ..files import write_atomically
from ..settings import ARTIFACTS
from ..show.board import PLOTS, no_longer, plots, tell_story
from ..show.notes import explain_follower
from ..show.page.facts import PageFacts
from ..show.page.search_figures import draw_curves
from ..show.page.svg import to_png
from ..studies.finding import followers_of
from ..studies.optuna_private import artifacts_of, forget_artifacts, list_artifact, plots_of
from ..studies.study import StoredStudy
from ..studies.turns import exclusive, patient
from .models import kept_model

CURVE = "learning-curve.png"


@patient()
def decorate(search: StoredStudy, facts: PageFacts, results_dir: Path, page: Path) -> None:
    """Whatever is there of an earlier state, or of an earlier winner, is replaced."""
    figures, curve = plots(facts), _draw_curve(facts)
    with exclusive(search.storage):  # notes and figures are kept in pieces: two commands would mix theirs
        save_note(search.study, tell_story(facts, str(page)))
        for name in PLOTS:
            if name in figures or name in plots_of(search.study):
                save_plotly_graph_object(search.study, figures.get(name) or no_longer(), graph_object_id=name)
        _explain_followers(search)
        _keep_files(search, facts, results_dir, page, curve)


def _draw_curve(facts: PageFacts) -> bytes | None:
    winner = facts.summary.winner
    if winner is None:
        return None
    return to_png(draw_curves([each for each in facts.trials if each.number == winner.number], winner.number).figure)


def _explain_followers(search: StoredStudy) -> None:
    for name in followers_of(search.storage, search.name):  # old ones were not explained when they were begun
        explain_follower(StoredStudy.load(search.storage, name))


def _keep_files(search: StoredStudy, facts: PageFacts, results_dir: Path, page: Path, curve: bytes | None) -> None:
    """The page goes to the search, and to the winner its model, what that is, and how it learned."""
    folder = results_dir / ARTIFACTS
    _keep(search, None, folder, {page.name: page.read_bytes()})
    winner = facts.summary.winner
    for identifier in forget_artifacts(search.study, but=winner.number if winner is not None else None):
        (folder / identifier).unlink(missing_ok=True)
    if winner is None:
        return
    files = {CURVE: curve or b""}
    model = kept_model(page.parent, facts.proof)
    for path in (model, model.with_suffix(".md")) if model is not None else ():
        if path.is_file():
            files[path.name] = path.read_bytes()
    _keep(search, winner.number, folder, files)


def _keep(search: StoredStudy, number: int | None, folder: Path, files: dict[str, bytes]) -> None:
    """Adds files to a trial or to the search. A file is there before it is listed."""
    known = artifacts_of(search.study, number)
    for name, content in files.items():
        # The same wherever and whenever the same study comes to the same: a repetition leaves no other files.
        identifier = known.get(name) or str(uuid.uuid5(uuid.NAMESPACE_URL, f"{search.name}/{number}/{name}"))
        write_atomically(folder / identifier, content)
        if name not in known:
            list_artifact(search.study, number, name, identifier)
