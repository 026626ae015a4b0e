"""Databases that earlier versions have written: attributes are given here as those wrote them, letter by letter."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import optuna
import pytest
from fakes import DISTRIBUTIONS, REFERENCE, claim, draw, drawn, ends, let_heartbeats_age, states, ticket_of
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState, create_trial
from pydantic import TypeAdapter

from search.config import RECIPE, TrialConfig, derive_seed
from search.proof.ledger import LADDER_SEEDS
from search.runs import ablating, reranking
from search.runs.ablating import num_complete_seeds
from search.runs.following import open_follower
from search.runs.history import plan_proof, read_ledger
from search.runs.looks import describe
from search.runs.seeds import seeds_plan
from search.runs.standings import read_ranking
from search.runs.testing import measured_seeds
from search.runs.winner import Choice
from search.studies.facts import TrialFacts
from search.studies.finding import find_search_study
from search.studies.kinds import Kind
from search.studies.opening import open_search_study
from search.studies.plan import Params
from search.studies.process import Owner
from search.studies.study import Binding, StoredStudy, StudyError
from search.studies.tickets import keys_left, release_dead_trials

VERSIONS = {"python": "3.11.7", "torch": "2.14.1", "torchvision": "0.29.1", "optuna": "5.0.0", "numpy": "2.4.6"}
COMMIT = "42325bd45e57ddada4a662e5a87c90f7f5e9819f"
# An owner's host has been its name alone at first, then its name and the machine's number; it had no place.
OLD_OWNER = {"host": "vm", "pid": 19909, "started": 1795353591.88}
OWNER = {"host": "vm 0123456789abcdef0123456789abcdef", "pid": 13734, "started": 1795576583.9}
BOUND = {
    "dataset": "sample",
    "epochs": 1,
    "max_params": 1_999,
    "recipe": RECIPE,  # what is of an earlier recipe is read, and not gone on with
    "space": "f59256062ef2e9b7",
    "split": "ee9d1d7f23a95db5",
}
MADE = {"commit": COMMIT, "last_active": "2026-11-25T03:16:35.091+00:00", "versions": VERSIONS}
SEARCH = {**BOUND, **MADE, "kind": "search", "pruner": "percentile", "rerank": 1, "sampler": "random", "seed": 0}
TRAINED = {
    "channels": [[5, 5, 5], [8], [13]],
    "commit": COMMIT,
    "device": "cpu",
    "epochs": 1,
    "num_params": 1_998,
    "owner": OWNER,
    "precision": "fp32",
    "seconds": 1.22,
    "train_loss": 1.8839573669433594,
    "val_loss": 1.6754092407226562,
    "worker_peak_memory_mb": 829,
}
TESTED = {
    "commit": COMMIT,
    "device": "cpu",
    "epochs": 1,
    "errors": 370,
    "errors_one_view": 311,
    "num_images": 1_000,
    "num_views": 27,
    "owner": OWNER,
    "precision": "fp32",
    "seconds": 1.87,
    "train_loss": 1.6409675844254032,
    "versions": VERSIONS,
}
CONFIG = {
    "model": {"channels": [[5, 5, 5], [8], [13]], "dropout": 0.025, "norm": True},
    "augment": {
        "rotation": 15.926576450913412,
        "shift": 2.067357554697365,
        "scale": 0.1473197349584771,
        "shear": 0.1473197349584771,
    },
    "lr": 0.01879046183045326,
    "weight_decay": 0.004264805123126386,
    "batch_size": 128,
    "average_horizon": 0.085,
    "final_augment": 0.3,
}
ABOUT = {
    **BOUND,
    **MADE,
    "channels": [[5, 5, 5], [8], [13]],
    "config": CONFIG,
    "num_params": 1_998,
    "search_study": "sample-1999p-1e",
    "trial": 1,
}
VERIFICATION = {
    **ABOUT,
    "attempts": {"10000": 2},
    "kind": "verify",
    "last_attempt": 10_000,
    "rules": {"10000": "the best of 1 re-ranked trials (46.938 % on validation, the mean of 2 further runs)"},
}
# What the earlier version drew for these tickets of a random search with seed 0.
SECOND = {"depth": 9, "width": 1.0106554383662398, "lr": 0.00409988566734833}
THIRD = {"depth": 3, "width": 2.436419277813142, "lr": 0.0032756388030083664}
SEED = {"seed": IntDistribution(0, 2**32 - 1)}
RUN = {"trial": IntDistribution(0, 2**31 - 1), "run": IntDistribution(0, 1)}
RUNGS = (
    "plain",
    "+ batch norm",
    "+ dropout",
    "+ augmentation (all)",
    "all but batch norm",
    "all but dropout",
)
RUNG = {"rung": CategoricalDistribution(RUNGS), **SEED}


def make_study(storage: RDBStorage, name: str, attributes: dict[str, Any]) -> StoredStudy:
    study = optuna.create_study(storage=storage, study_name=name, direction="maximize")
    for key, value in attributes.items():
        study.set_user_attr(key, value)
    return StoredStudy(study, storage)


def add(
    stored: StoredStudy,
    state: TrialState,
    params: Params,
    distributions: dict[str, BaseDistribution],
    attributes: dict[str, Any],
    *,
    value: float | None = None,
    fixed: Params | None = None,
) -> None:
    trial = create_trial(
        state=state,
        value=value,
        params=params,
        distributions={key: distributions[key] for key in params},
        user_attrs=attributes,
        system_attrs={"fixed_params": fixed} if fixed is not None else {},
    )
    stored.study.add_trial(trial)


@pytest.fixture
def old_search(storage: RDBStorage) -> StoredStudy:
    """A search of three tickets. The reference is complete, the second trial pruned, the third was interrupted."""
    search = make_study(storage, "sample-1999p-1e", SEARCH)
    add(
        search,
        TrialState.COMPLETE,
        REFERENCE,
        DISTRIBUTIONS,
        {**TRAINED, "seed": 5589275162668483230, "ticket": 0},
        value=51.125,
        fixed=REFERENCE,
    )
    pruned = {**TRAINED, "prune_reason": "not promising", "seed": 7500966507563258886, "ticket": 1}
    add(search, TrialState.PRUNED, SECOND, DISTRIBUTIONS, pruned)
    add(search, TrialState.FAIL, THIRD, DISTRIBUTIONS, {**TRAINED, "ticket": 2})
    return search


def joined(search: StoredStudy) -> StoredStudy:
    """As the next `search` command opens it."""
    return open_search_study(search.storage, search.name, Binding(**BOUND), REFERENCE)


def test_an_old_search_is_read(old_search: StoredStudy) -> None:
    search = find_search_study(old_search.storage, None)
    assert (search.name, search.kind, search.binding) == ("sample-1999p-1e", Kind.SEARCH, Binding(**BOUND))
    assert (search.facts.num_reranked, search.facts.sampler, search.facts.seed) == (1, "random", 0)
    best = search.best_trial()
    assert best is not None
    facts = TrialFacts.of(best)
    assert (best.value, facts.ticket, facts.channels) == (51.125, 0, ((5, 5, 5), (8,), (13,)))
    assert (facts.owner, facts.versions) == (Owner(**OWNER), None)


def test_an_old_search_goes_on_with_what_was_interrupted_and_then_draws_as_it_would_have(
    old_search: StoredStudy,
) -> None:
    search = joined(old_search)
    assert states(search) == ["COMPLETE", "PRUNED", "FAIL"]  # nothing is queued anew
    retry, fourth = claim(search, drawn(4)), claim(search, drawn(4))
    assert (ticket_of(retry), draw(retry), TrialFacts.of(retry).retry_of) == (2, THIRD, 2)
    assert ticket_of(fourth) == 3
    assert draw(fourth) == pytest.approx({"depth": 3, "width": 2.041319287132961, "lr": 0.06369250121875891})
    assert search.study.user_attrs["kind"] == "search"
    assert [made.commit for made in search.facts.continued_with] != [COMMIT]


def test_a_tickets_seed_is_what_it_was() -> None:
    assert derive_seed(0, "trial", 0) == 5589275162668483230
    assert derive_seed(7500966507563258886, "rerank", 0) == 8276787549179627585


def test_an_old_trial_that_was_cut_off_while_it_drew_is_drawn_again(old_search: StoredStudy) -> None:
    add(old_search, TrialState.FAIL, {"depth": 3}, DISTRIBUTIONS, {"owner": OWNER, "retry_of": 2, "ticket": 2})
    trial = claim(joined(old_search), drawn(3))
    assert (ticket_of(trial), draw(trial)) == (2, pytest.approx(THIRD))


def test_an_old_trial_that_failed_by_itself_is_not_drawn_again(old_search: StoredStudy) -> None:
    attributes = {**TRAINED, "fail_reason": "MemoryError: out of memory", "retry_of": 2, "ticket": 2}
    add(old_search, TrialState.FAIL, THIRD, DISTRIBUTIONS, attributes, fixed=THIRD)
    trial = claim(joined(old_search), drawn(3))
    assert ticket_of(trial) == 2
    assert draw(trial) != pytest.approx(THIRD)


def test_an_old_workers_running_trial_is_released_when_its_heart_has_stopped(old_search: StoredStudy) -> None:
    add(old_search, TrialState.RUNNING, THIRD, DISTRIBUTIONS, {**TRAINED, "owner": OWNER, "ticket": 2})
    search = joined(old_search)
    search.storage.record_heartbeat(search.trials()[3]._trial_id)
    assert release_dead_trials(search) == []
    let_heartbeats_age(search.storage)
    assert release_dead_trials(search) == [3]
    assert ends(search)[3] == (2, "FAIL")


def test_the_first_searches_which_had_no_recipe_number_are_read_and_not_mixed_with_later_ones(
    storage: RDBStorage,
) -> None:
    first = {key: value for key, value in SEARCH.items() if key not in ("recipe", "rerank")}
    search = make_study(storage, "sample-1999p-1e", first)
    attributes = {key: value for key, value in TRAINED.items() if key != "worker_peak_memory_mb"}
    attributes |= {"owner": OLD_OWNER, "seed": 5589275162668483230, "ticket": 0}
    add(search, TrialState.COMPLETE, REFERENCE, DISTRIBUTIONS, attributes, value=51.125, fixed=REFERENCE)
    assert search.binding.recipe == 1
    assert search.facts.num_reranked == 0
    assert TrialFacts.of(search.trials()[0]).drawn
    assert release_dead_trials(search) == []
    with pytest.raises(StudyError, match=r"training recipe of this tool \(1, now 6\)"):
        joined(search)
    assert find_search_study(storage, None).name == "sample-1999p-1e"


def make_old_reranking(search: StoredStudy, num_runs: int) -> StoredStudy:
    """Further runs of trial 0, whose tickets were 2 times its number, plus the run."""
    attributes = {**BOUND, **MADE, "kind": "rerank", "planned": [0], "search_study": search.name}
    stored = make_study(search.storage, f"{search.name}-rerank", attributes)
    for run, accuracy in enumerate([48.375, 45.5][:num_runs]):
        attributes = {**TRAINED, "searched_params": REFERENCE, "seed": 8276787549179627585, "ticket": run}
        params = {"trial": 0, "run": run}
        add(stored, TrialState.COMPLETE, params, RUN, attributes, value=accuracy, fixed=params)
    return stored


def test_an_old_re_ranking_is_read(old_search: StoredStudy) -> None:
    make_old_reranking(old_search, 2)
    ranking = read_ranking(old_search)
    assert ranking is not None
    assert ranking.winner is not None
    assert (ranking.winner.trial.number, ranking.winner.accuracies) == (0, (48.375, 45.5))


def test_an_old_re_ranking_goes_on_with_the_runs_that_it_lacks(old_search: StoredStudy) -> None:
    make_old_reranking(old_search, 1)
    leading = tuple(old_search.complete_trials())
    stored = reranking.open_rerank_study(old_search, len(leading), leading)
    assert stored.name == "sample-1999p-1e-rerank"
    assert len(stored.trials()) == 1
    trial = claim(stored, reranking.runs_of(leading))
    assert (trial.suggest_int("trial", 0, 2**31 - 1), trial.suggest_int("run", 0, 1)) == (0, 1)
    assert keys_left(stored, reranking.runs_of(leading)) == []


@pytest.fixture
def old_verification(old_search: StoredStudy) -> StoredStudy:
    """Seed 10000 is measured; 10001, whose ticket was the seed as well, was interrupted."""
    stored = make_study(old_search.storage, f"{old_search.name}-verify-1", VERIFICATION)
    add(
        stored,
        TrialState.COMPLETE,
        {"seed": 10_000},
        SEED,
        {**TESTED, "ticket": 10_000},
        value=63.0,
        fixed={"seed": 10_000},
    )
    cut_off = {key: value for key, value in TESTED.items() if not key.startswith(("errors", "num_"))}
    add(stored, TrialState.FAIL, {"seed": 10_001}, SEED, {**cut_off, "ticket": 10_001}, fixed={"seed": 10_001})
    return stored


def config_of(values: dict[str, Any]) -> TrialConfig:
    return TypeAdapter(TrialConfig).validate_python(values)


def choice_of(search: StoredStudy) -> Choice:
    trial: FrozenTrial = search.trials()[1]
    return Choice(trial=trial, rule="the best of 1 re-ranked trials")


def test_an_old_verification_is_joined_and_goes_on_with_the_seeds_that_it_lacks(
    old_search: StoredStudy, old_verification: StoredStudy, tmp_path: Path
) -> None:
    stored = open_follower(old_search, Kind.VERIFY, choice_of(old_search), config_of(CONFIG))
    assert (stored.name, len(stored.trials())) == (old_verification.name, 2)
    seeds = plan_proof(
        stored, tmp_path / "results", first_seed=None, num_seeds=2, target=Decimal("99.4"), chosen_by="another"
    )
    assert seeds == range(10_000, 10_002)
    [measured] = measured_seeds(stored, range(10_000, 10_001))
    assert (measured.accuracy, measured.facts.errors) == (63.0, 370)
    trial = claim(stored, seeds_plan(seeds))
    assert (trial.suggest_int("seed", 0, 2**32 - 1), TrialFacts.of(trial).retry_of) == (10_001, 1)
    assert keys_left(stored, seeds_plan(seeds)) == []


def test_what_an_old_verification_was_asked_for_and_has_seen_counts(
    old_verification: StoredStudy, tmp_path: Path
) -> None:
    ledger = read_ledger(old_verification.storage, tmp_path)
    found = ledger.tested(describe(old_verification.facts)["subject"])
    assert found is not None
    assert (found.study_name, found.trial, found.num_params) == ("sample-1999p-1e", 1, 1_998)
    [asked] = found.asked
    assert (asked.range, asked.target, asked.commit) == (range(10_000, 10_002), None, COMMIT)
    assert asked.chosen_by == VERIFICATION["rules"]["10000"]
    [row] = found.seeds
    assert (row.seed, row.errors, row.errors_one_view, found.num_images) == (10_000, 370, 311, 1_000)
    assert [each.subject for each in ledger.attempts("sample")] == [found.subject]


def test_an_old_verification_of_before_views_counts(old_verification: StoredStudy, tmp_path: Path) -> None:
    tested = {key: value for key, value in TESTED.items() if key not in ("errors_one_view", "num_views")}
    add(old_verification, TrialState.COMPLETE, {"seed": 10_001}, SEED, {**tested, "errors": 380}, value=62.0)
    found = read_ledger(old_verification.storage, tmp_path).tested(describe(old_verification.facts)["subject"])
    assert found is not None
    assert [(row.errors, row.errors_one_view) for row in found.seeds] == [(370, 311), (380, 380)]


def test_an_old_verification_of_another_configuration_is_not_joined(
    old_search: StoredStudy, old_verification: StoredStudy
) -> None:
    other = config_of({**CONFIG, "lr": 0.02})
    with pytest.raises(StudyError, match="verified something else"):
        open_follower(old_search, Kind.VERIFY, choice_of(old_search), other)


def test_an_old_ablation_is_joined_and_goes_on_with_the_rungs_that_it_lacks(old_search: StoredStudy) -> None:
    attributes = {**ABOUT, "kind": "ablate"}
    old = make_study(old_search.storage, f"{old_search.name}-ablate-1", attributes)
    for ticket, rung in enumerate((*RUNGS, "plain")):  # their places in the plan
        params = {"rung": rung, "seed": LADDER_SEEDS + ticket // len(RUNGS)}
        tested = {**TESTED, "num_params": 1_967, "ticket": ticket, "train_accuracy": 21.325}
        add(old, TrialState.COMPLETE, params, RUNG, tested, value=20.0, fixed=params)
    stored = open_follower(old_search, Kind.ABLATE, choice_of(old_search), config_of(CONFIG))
    assert (stored.name, len(stored.trials())) == (old.name, 7)
    assert num_complete_seeds(stored) == 1
    assert keys_left(stored, ablating.runs_of(1)) == []
    trial = claim(stored, ablating.runs_of(2))
    assert trial.suggest_categorical("rung", RUNGS) == "+ batch norm"
    assert trial.suggest_int("seed", 0, 2**32 - 1) == LADDER_SEEDS + 1
