"""Brings what a study has come to into the dashboard: notes, figures, and the winner's files."""

from collections.abc import Iterable
from pathlib import Path

from optuna.artifacts import FileSystemArtifactStore, get_all_artifact_meta, upload_artifact
from optuna.trial import FrozenTrial
from optuna_dashboard import save_note, save_plotly_graph_object

from search.runs.models import WINNER_MODEL
from search.settings import ARTIFACTS
from search.show.board import explain_follower, plots, tell_story
from search.show.page.facts import PageFacts
from search.show.page.figures import draw_curves
from search.show.page.svg import to_png
from search.studies.kinds import KINDS, search_followed_by
from search.studies.optuna_private import add_artifact, artifacts_of
from search.studies.study import StoredStudy, load_studies

CURVE = "learning-curve.png"


def decorate(search: StoredStudy, facts: PageFacts, results_dir: Path, page: Path) -> None:
    """Whatever is there of an earlier state is replaced."""
    save_note(search.study, tell_story(facts, str(page)))
    for name, figure in plots(facts).items():
        save_plotly_graph_object(search.study, figure, graph_object_id=name)
    _explain_followers(search)
    store = _open_store(results_dir)
    _keep(store, search, None, [page])
    winner = facts.summary.winner
    if winner is not None:
        trial = search.trials()[winner.number]
        _keep(store, search, trial, _files_of_winner(facts, page.parent, winner.number))


def _explain_followers(search: StoredStudy) -> None:
    for follower in load_studies(search.storage):
        kind = follower.kind
        if kind in KINDS and kind is not None and search_followed_by(follower.name) == search.name:
            save_note(follower.study, explain_follower(kind, search.name, follower.facts.trial))


def _files_of_winner(facts: PageFacts, folder: Path, number: int) -> Iterable[Path]:
    """The model that was proved, or before there is one the searched one, what it is, and how it learned."""
    kept = facts.proof.model if facts.proof is not None else None
    model = folder / (kept.file if kept is not None else WINNER_MODEL)
    curve = folder / CURVE
    curve.write_bytes(to_png(draw_curves([each for each in facts.trials if each.number == number], number).figure))
    return (model, model.with_suffix(".md"), curve)


def _open_store(results_dir: Path) -> FileSystemArtifactStore:
    folder = results_dir / ARTIFACTS
    folder.mkdir(parents=True, exist_ok=True)
    return FileSystemArtifactStore(folder)


def _keep(
    store: FileSystemArtifactStore, search: StoredStudy, trial: FrozenTrial | None, files: Iterable[Path]
) -> None:
    """Adds files to a trial or to the search; one of a name that is there already is replaced."""
    if trial is None:
        known = {each.filename: each.artifact_id for each in get_all_artifact_meta(search.study)}
    else:
        known = artifacts_of(search.study, trial)
    for path in files:
        if not path.is_file():
            continue
        if path.name not in known and trial is None:
            upload_artifact(artifact_store=store, file_path=str(path), study_or_trial=search.study)
            continue
        if path.name not in known and trial is not None:
            known[path.name] = add_artifact(search.study, trial, path.name)
        with path.open("rb") as content:
            store.write(known[path.name], content)
