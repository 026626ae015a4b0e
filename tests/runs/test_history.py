"""What is known of all looks at the test images: wherever it is on record, and whatever of that is lost."""

import dataclasses
import re
import shutil
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import optuna
import pytest
from evidence import (
    CONFIG,
    ON_THE_SAMPLE,
    OTHER_ATTEMPT,
    ask,
    make_ladder,
    make_proof,
    make_reproduction,
    make_rung,
    make_tested,
)
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from recording import add_seed

from search.config import RECIPE, TrialConfig
from search.proof import parts, tested
from search.proof.evidence import Proof
from search.proof.ledger import LADDER_SEEDS, Ledger, Look, SeedsError, entries_of, parse_lines
from search.proof.parts import RecordError
from search.proof.tested import OtherLooks
from search.runs import history
from search.runs.following import open_follower
from search.runs.history import delete_and_remember, learn, plan_proof, read_ledger
from search.runs.looks import LEDGER_FILE, append, describe
from search.runs.rungs import RUNGS, rung_config
from search.runs.seeds import seeds_plan
from search.runs.testing import measured_seeds
from search.runs.winner import Choice, choose_trial, rebuild_config
from search.settings import COMMITTED
from search.studies.facts import FactsError, StudyFacts, config_facts
from search.studies.finding import delete_studies
from search.studies.kinds import Kind
from search.studies.lines import add_line, read_lines
from search.studies.space import Space
from search.studies.storage import open_storage
from search.studies.study import StoredStudy
from search.studies.tickets import keys_left

NOWHERE = Path("there-is-no-such-folder")


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """The folder of results."""
    return tmp_path / "results"


Plan = Callable[..., range]


@pytest.fixture
def plan(results: Path) -> Plan:
    """Asks for a proof, as `verify-best` does."""

    def plan(
        verification: StoredStudy,
        first_seed: int | None,
        num_seeds: int,
        *,
        target: str = "99.4",
        chosen_by: str = "the best",
    ) -> range:
        return plan_proof(
            verification,
            results,
            first_seed=first_seed,
            num_seeds=num_seeds,
            target=Decimal(target),
            chosen_by=chosen_by,
        )

    return plan


@pytest.fixture
def runner_up(search_study: StoredStudy, the_space: Space) -> StoredStudy:
    """The study that verifies trial 0; still empty."""
    choice = choose_trial(search_study, 0)
    return open_follower(search_study, Kind.VERIFY, choice, rebuild_config(search_study, choice.trial, the_space))


def known_of(stored: StoredStudy, results: Path) -> tested.Tested:
    """All that is on record of what a study is about."""
    found = read_ledger(stored.storage, results).tested(describe(stored.facts)["subject"])
    assert found is not None
    return found


def asked_of(stored: StoredStudy, results: Path) -> list[range]:
    return [asked.range for asked in known_of(stored, results).asked]


# Which seeds


def test_a_proof_is_on_record_before_anything_is_measured(verification: StoredStudy, results: Path, plan: Plan) -> None:
    assert plan(verification, 10_000, 5) == range(10_000, 10_005)
    assert plan(verification, 20_000, 3, target="99.5") == range(20_000, 20_003)
    written = parse_lines((results / "small" / LEDGER_FILE).read_bytes(), "here")
    stored = [line for _, line in read_lines(verification.storage)]
    assert sorted(stored) == sorted(entry.model_dump_json() for entry in written)
    assert asked_of(verification, results) == [range(10_000, 10_005), range(20_000, 20_003)]
    assert known_of(verification, NOWHERE).target == 99.5  # by the database alone


def test_a_configuration_is_one_attempt_however_often_it_is_put_to_the_test(
    searched_storage: RDBStorage, verification: StoredStudy, runner_up: StoredStudy, results: Path, plan: Plan
) -> None:
    def count(dataset: str = "sample") -> int:
        return len(read_ledger(searched_storage, results).attempts(dataset))

    assert count() == 0  # nothing is planned yet
    for first_seed, num_seeds in ((10_000, 5), (10_000, 20), (20_000, 5)):  # resumed, extended, tried elsewhere
        plan(verification, first_seed, num_seeds)
        assert count() == 1
    plan(runner_up, 30_000, 5)
    assert count() == 2
    assert count("mnist") == 0


def seeds_left(verification: StoredStudy, seeds: range) -> list[int]:
    return [dict(key)["seed"] for key in keys_left(verification, seeds_plan(seeds)) if isinstance(key, tuple)]


def test_a_proof_is_extended_by_asking_for_more(verification: StoredStudy, results: Path, plan: Plan) -> None:
    plan(verification, 10_000, 5)
    for seed in range(10_000, 10_005):
        add_seed(verification, seed)
    seeds = plan(verification, 10_000, 20)
    assert seeds == range(10_000, 10_020)
    assert seeds_left(verification, seeds) == list(range(10_005, 10_020))
    assert known_of(verification, results).num_planned == 20


def test_a_proof_is_not_cut_down_below_what_it_measured(verification: StoredStudy, results: Path, plan: Plan) -> None:
    plan(verification, 10_000, 20)
    for seed in (10_000, 10_001, 10_002, 10_004, 10_005, 10_006):  # cut off there, while 10,003 was under way
        add_seed(verification, seed)
    seeds = plan(verification, 10_000, 5)
    assert seeds == range(10_000, 10_007)
    assert seeds_left(verification, seeds) == [10_003]
    add_seed(verification, 10_003)
    assert [run.seed for run in measured_seeds(verification, seeds)] == list(seeds)
    # Asked for once more, whatever the number, it is what it was.
    assert plan(verification, 10_000, 1) == seeds
    assert known_of(verification, results).num_planned == 20


def test_what_was_planned_but_never_measured_may_be_given_up(verification: StoredStudy, plan: Plan) -> None:
    plan(verification, 10_000, 20)
    add_seed(verification, 10_000)
    add_seed(verification, 10_008, TrialState.FAIL, errors=None)
    assert plan(verification, 10_000, 5) == range(10_000, 10_005)


def test_what_a_killed_worker_had_measured_is_not_given_up(verification: StoredStudy, plan: Plan) -> None:
    plan(verification, 10_000, 20)
    add_seed(verification, 10_000)
    add_seed(verification, 10_008, TrialState.FAIL)
    assert plan(verification, 10_000, 5) == range(10_000, 10_009)


def test_seeds_of_another_trial_are_spent(
    verification: StoredStudy, runner_up: StoredStudy, results: Path, plan: Plan
) -> None:
    plan(verification, 10_000, 5)
    with pytest.raises(SeedsError, match="10000 to 10004 were used before"):
        plan(runner_up, 10_000, 5)
    assert read_ledger(verification.storage, results).tested(describe(runner_up.facts)["subject"]) is None
    assert plan(runner_up, None, 5) == range(11_000, 11_005)
    assert plan(verification, None, 20) == range(10_000, 10_020)  # there is room to extend both


def test_seeds_of_its_own_are_pooled_so_they_may_be_taken_again(verification: StoredStudy, plan: Plan) -> None:
    plan(verification, 10_000, 5)
    assert plan(verification, 10_003, 10) == range(10_003, 10_013)
    assert plan(verification, 10_000, 20) == range(10_000, 10_020)


def test_without_a_first_seed_the_proof_that_was_begun_last_goes_on(verification: StoredStudy, plan: Plan) -> None:
    assert plan(verification, None, 5) == range(10_000, 10_005)
    assert plan(verification, None, 8) == range(10_000, 10_008)
    plan(verification, 30_000, 5)
    assert plan(verification, None, 4) == range(30_000, 30_004)
    plan(verification, 10_000, 20)
    assert plan(verification, None, 20) == range(10_000, 10_020)


@pytest.fixture
def reproduction(searched_storage: RDBStorage, verification: StoredStudy) -> StoredStudy:
    """A study that repeats what `verification` has measured, from a record; still empty."""
    study = optuna.create_study(storage=searched_storage, study_name="small-reproduce-2", direction="maximize")
    about = verification.facts.model_dump(include={"trial", "dataset", "epochs", "recipe", "config", "num_params"})
    StudyFacts(kind=Kind.REPRODUCE, reproduces="small", **about).write(study)
    return StoredStudy(study, searched_storage)


def test_seeds_that_a_reproduction_has_shown_count_for_that_configuration_and_are_spent_for_others(
    verification: StoredStudy, runner_up: StoredStudy, reproduction: StoredStudy, results: Path, plan: Plan
) -> None:
    plan(verification, 10_000, 1)
    add_seed(verification, 10_000)
    for seed in (10_000, 20_000):  # one of the record, and a fresh one
        add_seed(reproduction, seed)
    with pytest.raises(SeedsError, match="20000 to 20000 were used before"):
        plan(runner_up, 20_000, 5)
    assert plan(verification, 20_000, 5) == range(20_000, 20_005)
    assert [row.seed for row in known_of(verification, results).seeds] == [10_000, 20_000]


def test_what_else_has_shown_test_accuracies_is_listed(
    verification: StoredStudy,
    reproduction: StoredStudy,
    search_study: StoredStudy,
    winner: Choice,
    winner_config: TrialConfig,
    results: Path,
) -> None:
    ablation = open_follower(search_study, Kind.ABLATE, winner, winner_config)
    for rung in ("plain", "+ batch norm"):
        add_seed(ablation, LADDER_SEEDS, rung=rung)
    add_seed(ablation, LADDER_SEEDS + 1, TrialState.FAIL, errors=None, rung="plain")
    add_seed(reproduction, 20_000)
    add_seed(verification, 10_000)
    ledger = read_ledger(verification.storage, results)
    assert ledger.other_looks("sample") == (
        OtherLooks(command="ablate", study_name="small", trial=2, num_runs=2),
        OtherLooks(command="reproduce", study_name="small", trial=2, num_runs=1),
    )
    assert ledger.other_looks("mnist") == ()


def test_each_rung_of_a_ladder_is_a_configuration_of_its_own(
    search_study: StoredStudy, winner: Choice, winner_config: TrialConfig, results: Path
) -> None:
    ablation = open_follower(search_study, Kind.ABLATE, winner, winner_config)
    for place, rung in enumerate(RUNGS):
        add_seed(ablation, LADDER_SEEDS, errors=60 + place, rung=rung)
    ledger = read_ledger(ablation.storage, results)
    for place, (rung, methods) in enumerate(RUNGS.items()):
        facts = ablation.facts.model_copy(update=config_facts(rung_config(winner_config, methods)))
        found = ledger.tested(describe(facts)["subject"])
        assert found is not None, rung
        assert [(row.command, row.errors) for row in found.seeds] == [("ablate", 60 + place)], rung
        assert found.num_params == facts.num_params
    StudyFacts(recipe=RECIPE - 1).write(ablation.study)  # whose rungs were others, perhaps
    assert read_ledger(ablation.storage, results).entries == ()


def test_a_miss_of_the_ladders_rung_that_is_the_winner_itself_counts(
    verification: StoredStudy, search_study: StoredStudy, winner: Choice, winner_config: TrialConfig, results: Path
) -> None:
    [rung] = [name for name, methods in RUNGS.items() if rung_config(winner_config, methods) == winner_config]
    add_seed(open_follower(search_study, Kind.ABLATE, winner, winner_config), LADDER_SEEDS, errors=61, rung=rung)
    add_seed(verification, 10_000)
    found = known_of(verification, results)
    assert [(row.seed, row.errors) for row in found.seeds] == [(10_000, 60), (LADDER_SEEDS, 61)]


# Where it is read


@pytest.mark.parametrize("state", TrialState, ids=lambda state: state.name)
def test_what_was_measured_counts_whatever_became_of_its_worker(
    state: TrialState, verification: StoredStudy, results: Path
) -> None:
    add_seed(verification, 10_000)
    add_seed(verification, 10_001, state, errors=61)
    assert [row.errors for row in known_of(verification, results).seeds] == [60, 61]


def test_a_configuration_is_one_under_all_names_of_its_studies(
    verification: StoredStudy, runner_up: StoredStudy, results: Path
) -> None:
    facts = verification.facts.model_copy(update={"search_study": "renamed", "trial": 0})
    study = optuna.create_study(storage=verification.storage, study_name="renamed-verify-0", direction="maximize")
    facts.write(study)
    add_seed(StoredStudy(study, verification.storage), 20_000, errors=61)
    add_seed(verification, 10_000)
    add_seed(runner_up, 30_000)
    assert [(row.seed, row.errors) for row in known_of(verification, results).seeds] == [(10_000, 60), (20_000, 61)]


def test_other_tools_studies_are_passed_over(searched_storage: RDBStorage, results: Path) -> None:
    study = optuna.create_study(storage=searched_storage, study_name="foreign")
    study.set_user_attr("config", {})
    study.set_user_attr("errors", 3)
    add_seed(StoredStudy(study, searched_storage), 10_000)
    assert read_ledger(searched_storage, results).entries == ()


def test_what_the_database_and_the_records_both_know_is_known_once(
    verification: StoredStudy, results: Path, plan: Plan
) -> None:
    plan(verification, 10_000, 1)
    add_seed(verification, 10_000)
    known = known_of(verification, results)
    entries = list(entries_of(known))
    for entry in entries:
        append(verification.storage, results / "small", entry)
        append(verification.storage, results / "a copy", entry)
    assert len(read_lines(verification.storage)) == len(entries) == 2
    assert known_of(verification, results) == known


PROOF = make_proof([61], asked=(ask(10_000, 20, 99.3), ask(10_000, 1)))
FOUND = {
    "verify.json": PROOF,
    "verify-31.json": PROOF,
    "ablation.json": make_ladder(make_rung("all", 99.39)),
    "reproduce.json": make_reproduction(
        seeds=[{"seed": 10_000, "test_accuracy": 99.39, "errors": 61, "errors_one_view": 70, "recorded_errors": 60}]
    ),
}


@pytest.mark.parametrize("name", FOUND)
def test_every_record_is_a_witness(name: str, storage: RDBStorage, results: Path) -> None:
    FOUND[name].write(results / "any folder" / name)
    found = read_ledger(storage, results).tested(PROOF.subject)
    assert found is not None
    assert [row.errors for row in found.seeds] == [61]
    assert found.target == (99.4 if name.startswith("verify") else None)


def test_what_somebody_elses_record_knows_is_learnt_and_kept(storage: RDBStorage, results: Path) -> None:
    learn(storage, PROOF)
    found = read_ledger(storage, results).tested(PROOF.subject)
    assert found is not None
    assert (found.asked, found.seeds) == (PROOF.asked, PROOF.seeds)


def test_a_ledger_is_a_witness_in_the_database_and_in_a_file(storage: RDBStorage, results: Path) -> None:
    for entry in entries_of(PROOF.tested[0]):
        append(storage, results / "small", entry)
    of_the_file = Ledger.joined(parse_lines((results / "small" / LEDGER_FILE).read_bytes(), "here"))
    for ledger in (read_ledger(storage, NOWHERE), of_the_file):
        found = ledger.tested(PROOF.subject)
        assert found is not None
        assert (found.asked, found.seeds) == (PROOF.asked, PROOF.seeds)


def test_the_records_of_all_studies_are_read(storage: RDBStorage, results: Path) -> None:
    assert read_ledger(storage, results).entries == ()
    other_trial = make_proof([61], first_seed=12_000, trial=2, config=dataclasses.replace(CONFIG, lr=0.04))
    make_proof([60, 58]).write(results / "small" / "verify.json")
    other_trial.write(results / "small" / "verify-2.json")
    make_proof([59], first_seed=11_000, earlier_attempts=(OTHER_ATTEMPT,)).write(results / "large" / "verify.json")
    make_proof([9], **ON_THE_SAMPLE).write(results / "quick" / "verify.json")
    ledger = read_ledger(storage, results)
    found = {tested.subject.config["lr"]: [row.seed for row in tested.seeds] for tested in ledger.attempts("mnist")}
    assert found == {0.02: [10_000, 10_001, 11_000], 0.03: [20_000, 20_001, 20_002], 0.04: [12_000]}
    assert [[row.seed for row in tested.seeds] for tested in ledger.attempts("sample")] == [[10_000]]


PROVED = [folder for folder in COMMITTED if (folder / "verify.json").exists()]


@pytest.mark.parametrize("committed", PROVED, ids=lambda folder: folder.name)
def test_what_this_project_has_proved_counts_as_an_attempt_of_before(
    committed: Path, verification: StoredStudy, results: Path, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    proof = Proof.read(committed / "verify.json")
    StudyFacts(dataset=proof.dataset).write(verification.study)
    assert read_ledger(verification.storage, results).entries == ()
    monkeypatch.setattr(history, "COMMITTED", COMMITTED)
    ledger = read_ledger(verification.storage, results)
    assert proof.subject in [tested.subject for tested in ledger.attempts(proof.dataset)]
    with pytest.raises(SeedsError, match=rf"{proof.first_seed} to \d+ were used before"):
        plan(verification, proof.first_seed, 1)
    assert plan(verification, None, 1).start > proof.first_seed
    again = Ledger.joined(ledger.entries, (entry for tested in proof.tested for entry in entries_of(tested)))
    assert again == ledger  # its record and its ledger agree
    found = ledger.tested(proof.subject)
    assert found is not None
    assert found.seeds == proof.seeds


# What cannot be read


@pytest.mark.parametrize("content", ["null", "[]", "{", "7", "{}", '{"seeds": []}', '{"seeds": [{}]}', '{"seeds": 3}'])
@pytest.mark.parametrize("name", [*FOUND, LEDGER_FILE])
def test_what_is_damaged_is_not_taken_for_what_knows_nothing(
    name: str, content: str, storage: RDBStorage, results: Path
) -> None:
    path = results / "small" / name
    path.parent.mkdir(parents=True)
    path.write_text(f"{content}\n")
    with pytest.raises(RecordError, match=re.escape(str(path))):
        read_ledger(storage, results)


def test_a_record_of_an_earlier_version_is_not_passed_over(storage: RDBStorage, results: Path) -> None:
    PROOF.write(results / "small" / "verify.json")
    path = results / "small" / "verify.json"
    path.write_text(path.read_text().replace('"schema_version": 2', '"schema_version": 1'))
    with pytest.raises(RecordError, match=f"{path} was written by another version"):
        read_ledger(storage, results)


def test_a_damaged_line_of_the_database_is_named(storage: RDBStorage, results: Path) -> None:
    add_line(storage, "0123456789abcdef", "{")
    with pytest.raises(RecordError, match=r"^Line 0123456789abcdef of the database's ledger is damaged"):
        read_ledger(storage, results)


@pytest.mark.parametrize("name", ["ablation.json", "reproduce.json", "verify.json"])
def test_a_record_with_more_errors_than_test_digits_is_refused(name: str, storage: RDBStorage, results: Path) -> None:
    """What a type cannot see: it is told in one line all the same."""
    path = results / "small" / name
    row = {"seed": 10_000, "test_accuracy": 1.0, "errors": 10_001, "errors_one_view": 70, "recorded_errors": None}
    impossible: dict[str, parts.Record] = {
        "ablation.json": make_ladder(make_rung("all", 99.4).model_copy(update={"errors": (10_001,)})),
        "reproduce.json": make_reproduction(seeds=[row]),
        "verify.json": make_proof([60], earlier_attempts=(make_tested(61, num_images=60),)),
    }
    impossible[name].write(path)
    with pytest.raises(RecordError, match=rf"{re.escape(str(path))} is damaged \(.*\)\. Restore it\.$") as refused:
        read_ledger(storage, results)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "damage",
    [{"attempts": {"10000": 10**9}}, {"attempts": {"-1": 5}}, {"trial": -1}, {"epochs": None}, {"dataset": None}],
    ids=str,
)
def test_a_damaged_study_is_named(damage: dict[str, Any], verification: StoredStudy, results: Path) -> None:
    add_seed(verification, 10_000)
    for name, value in damage.items():
        verification.study.set_user_attr(name, value)
    with pytest.raises((RecordError, FactsError), match=r"^Study 'small-verify-2' "):
        read_ledger(verification.storage, results)


# What is lost


def miss(verification: StoredStudy, results: Path) -> None:
    """A seed that misses, on record as a worker of today leaves it."""
    add_seed(verification, 10_000, errors=61)
    [known] = [entry for entry in entries_of(known_of(verification, results)) if isinstance(entry, Look)]
    append(verification.storage, results / "small", known)


def test_what_a_deleted_study_has_seen_is_remembered(verification: StoredStudy, results: Path, plan: Plan) -> None:
    plan(verification, 10_000, 5)
    add_seed(verification, 10_000, errors=61)  # as an earlier version left it: in the study alone
    before = known_of(verification, results)
    delete_and_remember(verification.storage, ["small", "small-verify-2"])
    assert optuna.get_all_study_names(verification.storage) == []
    after = read_ledger(verification.storage, NOWHERE).tested(before.subject)
    assert after == before


def test_a_study_that_is_deleted_by_another_tool_is_not_forgotten(verification: StoredStudy, results: Path) -> None:
    subject = describe(verification.facts)["subject"]
    miss(verification, results)
    delete_studies(verification.storage, ["small-verify-2"])
    found = read_ledger(verification.storage, NOWHERE).tested(subject)
    assert found is not None
    assert [row.errors for row in found.seeds] == [61]


def test_a_lost_database_or_lost_files_are_made_up_for_by_the_other(
    verification: StoredStudy, storage_url: str, results: Path, tmp_path: Path, empty_database: Path
) -> None:
    subject = describe(verification.facts)["subject"]
    miss(verification, results)
    by_the_database = read_ledger(verification.storage, NOWHERE).tested(subject)
    shutil.copy(empty_database, tmp_path / "new.db")
    storage = open_storage(storage_url.replace("study.db", "new.db"))
    by_the_files = read_ledger(storage, results).tested(subject)
    assert read_ledger(storage, NOWHERE).entries == ()
    storage.remove_session()
    storage.engine.dispose()
    assert by_the_database == by_the_files
    assert by_the_files is not None
    assert [row.errors for row in by_the_files.seeds] == [61]


def test_the_worst_of_two_machines_counts_in_whichever_order_their_files_come(
    storage: RDBStorage, results: Path
) -> None:
    for folder, errors in (("a", 60), ("b", 61), ("c", 60)):
        proof = make_proof([errors], commit=folder, device=folder)
        for entry in entries_of(proof.tested[0]):
            append(storage, results / folder, entry)
    found = read_ledger(storage, results).tested(PROOF.subject)
    assert found is not None
    assert [[each.errors for each in row.outcomes] for row in found.seeds] == [[61, 60]]
