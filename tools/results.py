"""Parts of the pages that tell results: from the committed records, and the study that they come from."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from optuna.storages import RDBStorage

from search.config import MAX_EPOCHS, ExplainedError
from search.proof.evidence import Proof
from search.proof.ladder import Ladder
from search.proof.summaries import Earned, StudySummary
from search.show import ladder, proof
from search.show.card import model_card
from search.show.totals import busy_seconds
from search.show.words import format_network
from search.studies.kinds import KINDS, Kind
from search.studies.storage import open_storage
from search.studies.study import StoredStudy

RESULTS = Path(__file__).resolve().parent.parent / "results"
REFERENCE, FRONTIER = RESULTS / "reference", RESULTS / "frontier"


def result_table() -> str:
    """The reference study and its proof, in short."""
    summary, proved = StudySummary.read(REFERENCE / "summary.json"), Proof.read(REFERENCE / "verify.json")
    views = f"mean of {proved.num_views} views"
    rows = {
        "Search": describe_search(summary),
        "Winner": f"trial {proved.trial}, {proved.chosen_by}",
        "Network": f"{proved.num_params:,} parameters, channels {format_network(proved.config.model)}",
        "Epochs": f"{proved.epochs} (at most {MAX_EPOCHS})",
        f"Test accuracy over fresh seeds ({views})": f"mean {proved.mean:.3f} %, minimum {proved.min:.2f} %, "
        f"n = {len(proved.seeds)}",
        "Verdict": proof.verdict(proved),
    }
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())]) + "\n"


def describe_search(summary: StudySummary) -> str:
    trials, epochs = summary.trials, summary.epochs
    retried = f"; {trials.interrupted} more were interrupted, and tried again" if trials.interrupted else ""
    failed = f"; {trials.failed} more failed" if trials.failed else ""
    hours, minutes = divmod(round(summary.seconds / 60), 60)
    saved = epochs.saved_by_pruning / (epochs.trained + epochs.saved_by_pruning)
    return (
        f"{trials.total} trials ({trials.complete} complete, {trials.pruned} pruned{retried}{failed}) in {hours} h "
        f"{minutes:02} min on {summary.device}, re-ranking not included; pruning saved {saved:.0%} of the epochs"
    )


def evidence() -> str:
    """What the verdict rests on, what the search and the views have earned, and how long it took."""
    summary, proved = StudySummary.read(REFERENCE / "summary.json"), Proof.read(REFERENCE / "verify.json")
    reranking, best = summary.reranking, summary.best
    if reranking is None or reranking.regression is None or reranking.earned is None or best is None:
        raise ExplainedError(f"{REFERENCE / 'summary.json'} has no finished comparison: the pages rest on one.")
    with _reference_study() as storage:
        first_trial = StoredStudy.load(storage, summary.study_name).trials()[0]
        minutes = {
            "re-ranking": _minutes(storage, KINDS[Kind.RERANK].name(summary.study_name)),
            "proof": _minutes(storage, KINDS[Kind.VERIFY].name(summary.study_name, trial=proved.trial)),
        }
    found = (
        f"The search's first-ranked trial had reached {best.val_accuracy:.2f} % on validation; its further runs differ "
        f"from that by {-reranking.regression:+.3f} points on average. The network that every study tries first "
        f"(trial 0) had reached {first_trial.value:.2f} %."
    )
    lasted = f"The re-ranking took another {minutes['re-ranking']:.0f} minutes, the proof {minutes['proof']:.0f}."
    facts = "\n".join(f"- {sentence}" for sentence in proof.evidence(proved))
    return "\n\n".join([found, facts, _earned(reranking.earned, proved), lasted]) + "\n"


def _earned(earned: Earned, proved: Proof) -> str:
    """What the search and the views have earned."""
    margin, sure = (f" ± {earned.margin:.3f}", "95 %, ") if earned.margin is not None else ("", "")
    views = proved.mean - proved.one_view.mean
    return (
        f"What did the search earn? On validation, {earned.mean:+.3f}{margin} points over trial 0 ({sure}"
        f"{len(earned.first_val_accuracies)} pairs of further runs). What did the views earn? On the test digits, "
        f"{views:+.3f} points on average over the same {len(proved.seeds)} networks."
    )


@contextmanager
def _reference_study() -> Iterator[RDBStorage]:
    """A copy of the frontier's database, which holds the reference study: opening one writes to it."""
    with TemporaryDirectory() as folder:
        copy = shutil.copy(FRONTIER / "study.db", folder)
        storage = open_storage(f"sqlite:///{copy}")
        yield storage
        storage.engine.dispose()


def _minutes(storage: RDBStorage, study_name: str) -> float:
    return busy_seconds(StoredStudy.load(storage, study_name).trials()) / 60


def proof_pages() -> Iterator[tuple[Path, str]]:
    """The page of every committed proof, and its model's card."""
    for record in sorted(RESULTS.rglob("verify*.json")):
        proved = Proof.read(record)
        yield record.with_suffix(".md"), proof.to_markdown(proved)
        if proved.model is not None:
            yield (record.parent / proved.model.file).with_suffix(".md"), model_card(proved)


def ladder_table() -> str:
    """What each method earned."""
    taken_apart, proved = Ladder.read(REFERENCE / "ablation.json"), Proof.read(REFERENCE / "verify.json")
    if taken_apart.config != proved.config:
        raise ExplainedError(f"{REFERENCE / 'ablation.json'} is of another trial than the proof.")
    return ladder.to_markdown(taken_apart)
