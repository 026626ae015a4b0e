"""A study's page is gathered from what is on record, and opens no test image."""

from pathlib import Path

import optuna
import pytest
from commands import assert_refused, run
from evidence import FOUR, make_answers, make_frontier, make_ladder, make_point, make_proof, make_rung
from optuna.storages import RDBStorage
from sqlalchemy.exc import OperationalError

from search.config import TrialConfig
from search.net.datasets import BundledSample
from search.net.sample import load_sample
from search.runs import pages
from search.runs.pages import PAGE, gather, write_page
from search.runs.shown import estimate_importance
from search.settings import RunSettings, frontier_record
from search.show.page.pictures import MISSES
from search.show.screen import Screen
from search.studies.facts import StudyFacts, TrialFacts
from search.studies.space import Space
from search.studies.study import StoredStudy

SAMPLE_PROOF = {"dataset": "sample", "judged": False, "num_images": 1_000, "study_name": "small"}


@pytest.fixture
def settings(storage_url: str, tmp_path: Path) -> RunSettings:
    return RunSettings(storage=storage_url, results_dir=tmp_path / "results", data_dir=tmp_path)


@pytest.fixture
def folder(settings: RunSettings) -> Path:
    path = settings.results_dir / "small"
    path.mkdir(parents=True)
    return path


@pytest.fixture
def places(settings: RunSettings) -> list[str]:
    return [
        f"--storage={settings.storage}",
        f"--results-dir={settings.results_dir}",
        f"--data-dir={settings.data_dir}",
    ]


class Told(Screen):
    """Keeps what is told."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def say(self, message: str) -> None:
        raise AssertionError(message)

    def warn(self, message: str) -> None:
        self.warnings.append(message)


def test_every_trial_is_shown_as_it_ended(search_study: StoredStudy, settings: RunSettings, the_space: Space) -> None:
    facts = gather(search_study, settings, the_space)
    states = {trial.number: trial.state for trial in facts.trials}
    assert states == {0: "complete", 1: "pruned", 2: "complete", 3: "interrupted", 4: "running"}
    shown = facts.trials[2]
    recorded = search_study.trials()[2]
    assert (shown.value, shown.params, shown.curve) == (recorded.value, recorded.params, recorded.intermediate_values)
    assert shown.num_params == TrialFacts.of(recorded).num_params
    assert (facts.proof, facts.answers, facts.ladder, facts.frontier, facts.hardest) == (None,) * 5
    assert facts.importance == {}  # two trials are too few


def test_digits_are_shown_as_they_are_and_as_they_may_be_trained_on(
    search_study: StoredStudy, settings: RunSettings, the_space: Space
) -> None:
    facts = gather(search_study, settings, the_space)
    assert [original.label for original, _ in facts.images] == [2, 4, 5, 8]
    for original, distorted in facts.images:
        assert {digit.label for digit in distorted} == {original.label}
        assert len({digit.pixels for digit in (original, *distorted)}) == 1 + len(distorted)
    assert gather(search_study, settings, the_space).images == facts.images


def test_a_study_whose_space_was_edited_has_a_page_without_its_network(
    search_study: StoredStudy, settings: RunSettings, the_space: Space
) -> None:
    StudyFacts(space="0123").write(search_study.study)
    facts = gather(search_study, settings, the_space)
    assert (facts.config, facts.images) == (None, ())
    assert len(facts.trials) == 5


def test_what_is_on_record_of_this_winner_is_shown(
    search_study: StoredStudy, settings: RunSettings, the_space: Space, folder: Path, winner_config: TrialConfig
) -> None:
    proof = make_proof([1, 7], trial=2, config=winner_config, space=search_study.binding.space, **SAMPLE_PROOF)
    ladder = make_ladder(make_rung("plain", 99.0), config=winner_config)
    answers = make_answers((FOUR,), seeds=[10_000]).model_copy(update={"trial": 2, "dataset": "sample"})
    frontier = make_frontier(make_point(1_999), dataset="sample")
    proof.write(folder / "verify.json")
    answers.write(folder / "answers.json")
    ladder.write(folder / "ablation.json")
    (folder / MISSES).write_bytes(b"a picture")
    frontier.write(settings.results_dir / frontier_record("sample", 4))
    facts = gather(search_study, settings, the_space)
    assert (facts.proof, facts.answers, facts.ladder) == (proof, answers, ladder)
    assert (facts.frontier, facts.hardest) == (frontier, b"a picture")
    StudyFacts(space="0123").write(search_study.study)  # what is proved is known nevertheless
    proof.model_copy(update={"space": "0123"}).write(folder / "verify.json")
    assert gather(search_study, settings, the_space).config == winner_config


@pytest.mark.parametrize("change", [{"trial": 0}, {"study_name": "other"}, {"space": "another"}])
def test_a_proof_of_something_else_is_not_shown(
    change: dict[str, object],
    search_study: StoredStudy,
    settings: RunSettings,
    the_space: Space,
    folder: Path,
    winner_config: TrialConfig,
) -> None:
    facts = {"trial": 2, "config": winner_config, "space": search_study.binding.space, **SAMPLE_PROOF, **change}
    make_proof([6, 7], **facts).write(folder / "verify.json")
    make_answers((FOUR,)).write(folder / "answers.json")
    found = gather(search_study, settings, the_space)
    assert (found.proof, found.answers) == (None, None)


@pytest.mark.parametrize("change", [{"trial": 0}, {"dataset": "mnist"}, {"study_name": "other"}, {"seeds": ()}])
def test_answers_of_another_proof_are_not_shown(
    change: dict[str, object],
    search_study: StoredStudy,
    settings: RunSettings,
    the_space: Space,
    folder: Path,
    winner_config: TrialConfig,
) -> None:
    facts = {"trial": 2, "config": winner_config, "space": search_study.binding.space, **SAMPLE_PROOF}
    make_proof([7, 7], **facts).write(folder / "verify.json")
    answers = make_answers((FOUR,), seeds=[10_000]).model_copy(update={"trial": 2, "dataset": "sample"} | change)
    answers.write(folder / "answers.json")  # of a seed with one error
    (folder / MISSES).write_bytes(b"a picture")
    found = gather(search_study, settings, the_space)
    assert found.proof is not None
    if change == {"seeds": ()}:
        assert found.answers == answers
    else:
        assert (found.answers, found.hardest) == (None, None)


def test_a_page_opens_no_test_digit(
    search_study: StoredStudy, settings: RunSettings, the_space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(self: BundledSample, data_dir: Path, *, test: bool) -> object:
        assert not test
        return load_sample(self.num_test)[0]

    monkeypatch.setattr(BundledSample, "load", load)
    monkeypatch.setattr(BundledSample, "provide", lambda *_args, test: None if not test else pytest.fail("test images"))
    assert len(gather(search_study, settings, the_space).images) == 4


def test_a_trial_that_is_only_queued_is_not_shown(
    search_study: StoredStudy, settings: RunSettings, the_space: Space
) -> None:
    search_study.study.enqueue_trial(search_study.trials()[0].params)
    assert len(gather(search_study, settings, the_space).trials) == 5


def test_a_damaged_record_costs_the_page_and_nothing_else(
    search_study: StoredStudy, settings: RunSettings, the_space: Space, folder: Path, places: list[str]
) -> None:
    (folder / "verify.json").write_text("{}")
    screen = Told()
    assert write_page(search_study, settings, the_space, screen) == ()
    [warning] = screen.warnings
    assert warning.startswith(f"{folder / PAGE} could not be written ({folder / 'verify.json'} ")
    assert_refused(run("report", *places), 1, "verify.json")
    assert not (folder / PAGE).exists()


def test_a_database_that_fails_costs_the_page_and_nothing_else(
    search_study: StoredStudy, settings: RunSettings, the_space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OperationalError("SELECT 1", {}, Exception("the server is gone"))

    monkeypatch.setattr(pages, "decorate", fail)
    screen = Told()
    assert write_page(search_study, settings, the_space, screen) != ()
    [warning] = screen.warnings
    assert warning.startswith("The dashboard was not brought up to date (")
    monkeypatch.setattr(pages, "gather", fail)
    assert write_page(search_study, settings, the_space, screen) == ()


def test_the_command_writes_the_page_and_its_figures(
    search_study: StoredStudy, places: list[str], settings: RunSettings
) -> None:
    result = run("report", *places, "--figures")
    assert result.exit_code == 0, result.output
    folder = settings.results_dir / "small"
    written = [Path(line.removeprefix("Written: ")) for line in result.stdout.splitlines()]
    assert written[0] == folder / PAGE
    assert {path.name for path in written[1:]} >= {"curves.png", "network.png", "timeline.png"}
    assert all(path.is_file() for path in written)
    assert "small" in (folder / PAGE).read_text(encoding="utf-8")


def test_figures_that_no_longer_hold_are_removed(
    search_study: StoredStudy, places: list[str], settings: RunSettings
) -> None:
    stale = settings.results_dir / "small" / "figures" / "seeds.png"
    own = stale.with_name("my-own.png")
    stale.parent.mkdir(parents=True)
    stale.touch()
    own.touch()
    assert run("report", *places, "--figures").exit_code == 0
    assert not stale.exists()
    assert own.exists()
    assert (stale.parent / "curves.png").exists()


def test_a_study_of_another_space_is_told_and_its_commands_name_that_space(
    search_study: StoredStudy, places: list[str], settings: RunSettings, the_space: Space
) -> None:
    StudyFacts(space="0123", space_file="narrow.py").write(search_study.study)
    ended = run("report", *places)
    assert ended.exit_code == 0, ended.output
    assert "The page does without the network: " in ended.stderr
    assert "is not the search space that study 'small' was made with (narrow.py, at" in ended.stderr
    facts = gather(search_study, settings, the_space)
    assert "--space narrow.py" in " ".join(facts.places)


def test_a_storage_with_a_secret_is_in_no_command(
    search_study: StoredStudy, settings: RunSettings, the_space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_study.storage, "url", "postgresql+psycopg://me:secret@db/studies")
    facts = gather(search_study, settings, the_space)
    assert "--storage" not in facts.places
    assert all(
        command.endswith("  # with the same --storage, or with OPTUNA_STORAGE set to it") for command in facts.commands
    )


def test_a_page_of_no_study_is_one_line(storage: RDBStorage, places: list[str]) -> None:
    assert_refused(run("report", *places), 1, "There is no search study")
    assert_refused(run("report", *places, "--study-name", "other"), 1, "There is no search study 'other'")


def test_importance_is_estimated_from_enough_trials(storage: RDBStorage) -> None:
    study = optuna.create_study(storage=storage, study_name="drawn", direction="maximize")
    unit = optuna.distributions.FloatDistribution(0, 1)
    for number in range(24):
        params = {"matters": number / 24, "does_not": number * 5 % 24 / 24}
        study.add_trial(
            optuna.trial.create_trial(params=params, distributions=dict.fromkeys(params, unit), value=number / 24)
        )
    found = estimate_importance(StoredStudy(study, storage))
    assert set(found) == {"matters", "does_not"}
    assert sum(found.values()) == pytest.approx(1)
