"""Whatever is repeated, renamed, interrupted, deleted or lowered: a miss that is on record is not confirmed."""

import contextlib
import os
import shutil
import signal
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import optuna
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from tiny import Listener

from search.config import TrialConfig
from search.net.datasets import DATASETS
from search.net.train import Evaluation
from search.proof.estimates import max_errors
from search.proof.evidence import Proof
from search.proof.ledger import LADDER_SEEDS
from search.runs.ablating import run_ablation
from search.runs.history import LEDGER_FILE, delete_and_remember
from search.runs.proving import run_verification
from search.runs.reproducing import run_reproduction
from search.runs.testing import FinalResult, FinalTest
from search.runs.winner import choose_trial, rebuild_config
from search.settings import AblateSettings, ReproduceSettings, VerifySettings
from search.studies.facts import StudyFacts, TrialFacts
from search.studies.finding import load_studies
from search.studies.space import Space
from search.studies.storage import open_storage

NUM_IMAGES = 10_000
TARGETS = Decimal("99.3"), Decimal("99.4")
HIT, MISS_OF_THE_HIGHER, MISS = 60, 61, 71  # errors
MACHINES = "here", "there"
STUDIES = "small", "again"  # two searches whose winners are the same configuration
DATABASE = Path("the database")
NUM_EXAMPLES = int(os.environ.get("LEDGER_EXAMPLES", "30"))  # of the slow tests

Fact = tuple[str, float]  # a target that was asked for, or a seed and its errors

machines, studies, targets = st.sampled_from(MACHINES), st.sampled_from(STUDIES), st.sampled_from(TARGETS)
some_errors = st.sampled_from([HIT, HIT, HIT, MISS_OF_THE_HIGHER, MISS])
places = st.sampled_from([DATABASE.name, LEDGER_FILE, "verify.json", "ablation.json", "reproduce.json"])


class Proofs(RuleBasedStateMachine):
    """Two machines, each with a database and a folder of results, on which odd and even seeds make so many errors.

    Everything but the training is real. What is on record is noted for each place, so that it is known what is lost
    with a place.
    """

    prepared: Path  # a database with both searches
    winner: TrialConfig
    space: Space

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.root = Path(self.folder.name)
        self.errors: dict[tuple[str, int], int] = {}
        self.known: dict[str, dict[Path, set[Fact]]] = {name: defaultdict(set) for name in MACHINES}
        self.at_work = ""  # the machine
        self.measured: set[Fact] = set()  # by the command at work
        self.proof: Proof | None = None  # the last one
        self.num_left = 0  # runs until somebody presses Ctrl-C; 0: nobody does

        def run(
            _test: FinalTest, trial: optuna.Trial, config: TrialConfig, *_: Any, seed: int, **__: Any
        ) -> FinalResult:
            return self.measure(trial, config, seed)

        self.patch = pytest.MonkeyPatch()
        self.patch.setattr("search.runs.history.COMMITTED", ())
        self.patch.setattr("search.runs.ablating.words.plot", lambda _: b"")
        self.patch.setattr("search.runs.reproducing.load_final_splits", lambda *_: (None, None))
        self.patch.setattr(FinalTest, "check_data", lambda _: None)
        self.patch.setattr(FinalTest, "prepare", lambda *_: None)
        self.patch.setattr(FinalTest, "run", run)

    def teardown(self) -> None:
        self.patch.undo()
        self.folder.cleanup()

    # What happens

    @initialize(
        errors=st.fixed_dictionaries({(machine, parity): some_errors for machine in MACHINES for parity in (0, 1)})
    )
    def begin(self, errors: dict[tuple[str, int], int]) -> None:
        self.errors = errors
        for machine in MACHINES:
            (self.root / machine).mkdir()
            self.make_the_database(machine)

    @rule(
        machine=machines,
        study=studies,
        bar=targets,
        num_seeds=st.integers(1, 2),
        first_seed=st.sampled_from([None, 10_001, 20_000]),
        interrupted_after=st.integers(0, 2),
    )
    def verify(
        self, machine: str, study: str, bar: Decimal, num_seeds: int, first_seed: int | None, interrupted_after: int
    ) -> None:
        asked = VerifySettings(
            **self.places(machine), study_name=study, target=bar, seeds=num_seeds, first_seed=first_seed
        )
        with self.command(machine, {("target", float(bar))}, interrupted_after):
            proof = run_verification(asked, self.space, Listener()).record
        if proof is not None:
            path = self.results(machine) / study / "verify.json"
            self.known[machine][path] = set().union(*self.known[machine].values())
            self.judge(proof, self.known[machine][path])
        self.proof = proof

    @rule(machine=machines, study=studies, interrupted_after=st.sampled_from([0, 5]))
    def ablate(self, machine: str, study: str, interrupted_after: int) -> None:
        asked = AblateSettings(**self.places(machine), study_name=study, seeds=1)
        with self.command(machine, set(), interrupted_after):
            ladder = run_ablation(asked, self.space, Listener()).record
        if ladder is not None:
            path = self.results(machine) / study / "ablation.json"
            self.known[machine][path] = {self.fact(machine, LADDER_SEEDS)}

    @rule(
        machine=machines,
        record_of=machines,
        study=studies,
        first_seed=st.sampled_from([None, 30_000]),
        num_seeds=st.integers(1, 2),
    )
    def reproduce(self, machine: str, record_of: str, study: str, first_seed: int | None, num_seeds: int) -> None:
        record = self.results(record_of) / study / "verify.json"
        if record.exists():
            asked = ReproduceSettings(**self.places(machine), place=record, seeds=num_seeds, first_seed=first_seed)
            with self.command(machine, set()):
                found = run_reproduction(asked, self.space, Listener()).record
            assert found is not None
            [path] = self.results(machine).glob(f"{study}-reproduce-*/reproduce.json")
            self.known[machine][path] = {self.fact(machine, row.seed) for row in found.seeds}
            self.known[machine][DATABASE] |= self.known[record_of][record]  # whose record is repeated is believed

    @rule(machine=machines, kept=places)
    def lose_all_but(self, machine: str, kept: str) -> None:
        for path in [path for path in self.known[machine] if path.name != kept]:
            del self.known[machine][path]
            if path != DATABASE:
                path.unlink()
        if kept != DATABASE.name:
            self.make_the_database(machine)

    @rule(machine=machines, in_the_dashboard=st.booleans())
    def delete_what_followed(self, machine: str, in_the_dashboard: bool) -> None:
        storage = open_storage(self.url(machine))
        names = [stored.name for stored in load_studies(storage) if stored.name not in STUDIES]
        if in_the_dashboard:
            for name in names:
                optuna.delete_study(study_name=name, storage=storage)
        else:
            delete_and_remember(storage, names)
        storage.remove_session()
        storage.engine.dispose()

    @rule(machine=machines, name=places)
    def bring_files_along(self, machine: str, name: str) -> None:
        [other] = set(MACHINES) - {machine}
        for path in self.results(other).glob(f"*/{name}"):
            copy = self.results(machine) / f"from {other}, {path.parent.name}" / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy)
            self.known[machine][copy] = set(self.known[other][path])

    # What has to hold

    def judge(self, proof: Proof, facts: set[Fact]) -> None:
        """A verdict is what everything that is on record says."""
        bar = max(value for kind, value in facts if kind == "target")
        most = max_errors(Decimal(str(bar)), NUM_IMAGES)
        seen = {(kind, value) for kind, value in facts if kind != "target"}
        assert proof.target == bar
        assert proof.confirmed is all(value <= most for _, value in seen)
        assert {(f"seed {row.seed}", each.errors) for row in proof.seeds for each in row.outcomes} == seen

    # How it is noted

    @contextlib.contextmanager
    def command(self, machine: str, facts: set[Fact], interrupted_after: int = 0) -> Iterator[None]:
        """Notes what a command has put on record: in the database, and in the file that it has added lines to."""
        self.at_work, self.measured, self.num_left = machine, set(facts), interrupted_after
        files = {path: path.read_bytes() for path in self.results(machine).glob(f"*/{LEDGER_FILE}")}
        yield
        self.known[machine][DATABASE] |= self.measured
        for path in self.results(machine).glob(f"*/{LEDGER_FILE}"):
            if path.read_bytes() != files.get(path):
                self.known[machine][path] |= self.measured

    def measure(self, trial: optuna.Trial, config: TrialConfig, seed: int) -> FinalResult:
        _, errors = self.fact(self.at_work, seed)
        TrialFacts(
            device="cpu", precision="fp32", errors=errors, errors_one_view=errors, num_images=NUM_IMAGES, num_views=27
        ).write(trial)
        if config == self.winner:
            self.measured.add(self.fact(self.at_work, seed))
        self.num_left -= 1
        if self.num_left == 0:
            os.kill(os.getpid(), signal.SIGINT)  # the run at work is finished, and no other begun
        evaluation = Evaluation(errors=int(errors), num_images=NUM_IMAGES, loss=0.1)
        return FinalResult(model=None, evaluation=evaluation, one_view=evaluation)

    def fact(self, machine: str, seed: int) -> Fact:
        return f"seed {seed}", self.errors[machine, seed % 2]

    def make_the_database(self, machine: str) -> None:
        folder = self.root / machine
        for path in folder.glob("study.db*"):
            path.unlink()
        shutil.copy(self.prepared, folder / "study.db")

    def places(self, machine: str) -> dict[str, Any]:
        return {
            "storage": self.url(machine),
            "results_dir": self.results(machine),
            "data_dir": self.root,
            "workers": 0,
            "device": "cpu",
            "precision": "fp32",
        }

    def url(self, machine: str) -> str:
        return f"sqlite:///{self.root / machine / 'study.db'}"

    def results(self, machine: str) -> Path:
        return self.root / machine / "results"


@pytest.fixture(scope="module")
def proofs(
    searched_database: Path, the_space: Space, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[type[Proofs]]:
    """Proofs on a judged data set, of two searches."""
    prepared = tmp_path_factory.mktemp("proofs") / "prepared.db"
    shutil.copy(searched_database, prepared)
    storage = open_storage(f"sqlite:///{prepared}")
    optuna.copy_study(from_study_name="small", to_study_name="again", from_storage=storage, to_storage=storage)
    for stored in load_studies(storage):
        StudyFacts(dataset="digits").write(stored.study)
        winner = rebuild_config(stored, choose_trial(stored, None).trial, the_space)
    storage.remove_session()
    storage.engine.dispose()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(DATASETS, "digits", replace(DATASETS["sample"], name="digits", judged=True))
        yield type("PreparedProofs", (Proofs,), {"prepared": prepared, "winner": winner, "space": the_space})


@pytest.mark.parametrize("num_examples", [2, pytest.param(NUM_EXAMPLES, marks=pytest.mark.slow)])
def test_a_miss_that_is_on_record_anywhere_is_never_followed_by_a_confirmation(
    num_examples: int, proofs: type[Proofs]
) -> None:
    checks = settings(max_examples=num_examples, stateful_step_count=12, suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(proofs, settings=checks)


GOOD, BAD = ({(machine, parity): errors for machine in MACHINES for parity in (0, 1)} for errors in (HIT, MISS))


@pytest.mark.parametrize(
    ("seen_by", "left"),
    [
        ("an interrupted proof", DATABASE.name),
        pytest.param("an interrupted proof", LEDGER_FILE, marks=pytest.mark.slow),
        ("a proof", "verify.json"),
        ("a proof that was deleted", DATABASE.name),
        pytest.param("a proof that was deleted in the dashboard", DATABASE.name, marks=pytest.mark.slow),
        pytest.param("a ladder", DATABASE.name, marks=pytest.mark.slow),
        pytest.param("a ladder", LEDGER_FILE, marks=pytest.mark.slow),
        ("a ladder", "ablation.json"),
        pytest.param("a record that was repeated", DATABASE.name, marks=pytest.mark.slow),
        pytest.param("a reproduction", DATABASE.name, marks=pytest.mark.slow),
        ("a reproduction", LEDGER_FILE),
        pytest.param("a reproduction", "reproduce.json", marks=pytest.mark.slow),
    ],
)
def test_one_witness_is_enough(seen_by: str, left: str, proofs: type[Proofs]) -> None:
    state = proofs()
    try:
        state.begin(errors=GOOD)
        if seen_by == "a reproduction":  # of a good record
            state.verify("there", "small", Decimal("99.4"), 1, None, 0)
        state.errors = BAD
        match seen_by:
            case "a record that was repeated":
                state.verify("there", "small", Decimal("99.4"), 2, None, 0)
                state.errors = GOOD
                state.reproduce("here", "there", "small", 30_000, 1)
            case "a ladder":
                state.ablate("here", "small", 0)
            case "a reproduction":
                state.reproduce("here", "there", "small", 30_000, 1)
            case _:
                state.verify("here", "small", Decimal("99.4"), 2, None, seen_by == "an interrupted proof")
        if "deleted" in seen_by:
            state.delete_what_followed("here", in_the_dashboard="dashboard" in seen_by)
        state.lose_all_but("here", left)
        state.errors = GOOD
        state.verify("here", "again", Decimal("99.4"), 1, 20_000, 0)
        assert state.proof is not None
        assert state.proof.confirmed is False
    finally:
        state.teardown()


def test_another_machines_miss_of_the_same_seed_counts(proofs: type[Proofs]) -> None:
    state = proofs()
    try:
        state.begin(errors={**GOOD, ("there", 0): MISS_OF_THE_HIGHER})
        for machine, confirmed in (("here", True), ("there", False)):
            state.verify(machine, "small", Decimal("99.4"), 1, None, 0)
            assert state.proof is not None
            assert state.proof.confirmed is confirmed
        state.bring_files_along("here", LEDGER_FILE)
        state.verify("here", "small", Decimal("99.3"), 1, None, 0)  # nor does a lower target help
        proof = state.proof
        assert proof is not None
        assert (proof.confirmed, proof.target, proof.asked_target) == (False, 99.4, 99.3)
        assert [each.errors for each in proof.seeds[0].outcomes] == [MISS_OF_THE_HIGHER, HIT]
    finally:
        state.teardown()
