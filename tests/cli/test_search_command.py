"""`search`, from what is typed to what is printed; and the command that it names as the next."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from commands import ROOT, SMALL, assert_refused, run

from search.net.datasets import DATASETS, IdxFiles
from search.studies.facts import TrialFacts
from search.studies.storage import open_storage
from search.studies.study import StoredStudy

FINISHED = [*SMALL, "--trials", "3", "--rerank", "0"]  # of `search_study`: there is nothing to train
SEARCH_KEYS = [
    "schema_version", "study_name", "storage", "dataset", "judged", "target", "device", "settings", "trials", "epochs",
    "seconds", "peak_memory_mb", "winner", "best", "reranking", "winner_model", "winner_model_missing",
    "stalled",
]  # fmt: skip
VERIFY_KEYS = {
    "schema_version", "study_name", "trial", "num_params", "channels", "epochs", "target", "dataset", "seeds", "min",
    "mean", "std", "ci95", "pass_share_lower95", "attempts", "confirmed", "commit", "versions", "asked", "num_planned",
    "num_passed", "earlier_attempts", "other_looks", "model",
}  # fmt: skip


# What needs no worker


def test_a_finished_study_is_only_summed_up(search_study: StoredStudy, places: list[str], tmp_path: Path) -> None:
    result = run("search", *FINISHED, *places, "--json")
    assert result.exit_code == 0
    facts = json.loads(result.stdout)
    assert facts["trials"] == {"total": 3, "complete": 2, "pruned": 1, "failed": 0, "interrupted": 1}
    assert json.loads((tmp_path / "results" / "small" / "summary.json").read_text()) == facts
    assert len(search_study.trials()) == 5


@pytest.mark.usefixtures("search_study")
def test_quiet_prints_nothing(places: list[str]) -> None:
    result = run("search", *FINISHED, *places, "--quiet")
    assert (result.exit_code, result.output) == (0, "")


@pytest.mark.usefixtures("no_mirror", "search_study")
def test_a_quiet_search_still_warns_that_it_uses_the_sample(places: list[str]) -> None:
    result = run("search", *FINISHED, "--dataset", "auto", *places, "--quiet")
    assert "sample" in result.stderr
    assert "99.4 %" in result.stderr


def test_a_search_interrupted_before_it_computes_says_so(
    search_study: StoredStudy, places: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def press_ctrl_c(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("search.runs.searching.load_search_splits", press_ctrl_c)
    result = run("search", "--dataset", "sample", *places)
    assert (result.exit_code, result.stdout) == (130, "")
    assert result.stderr == "Interrupted. What was finished is kept: repeat the command to go on.\n"
    assert len(search_study.trials()) == 5


@pytest.mark.usefixtures("search_study")
def test_a_search_whose_reranking_was_cut_off_says_what_it_was_and_how_to_finish_it(
    places: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.runs.session.in_processes", lambda *_, **__: True)  # as after Ctrl-C
    result = run("search", *SMALL, "--trials", "3", "--rerank", "9", *places)
    assert result.exit_code == 130
    assert "Re-ranking the leading 2 (9 were to be, but no more are complete) by 2 further runs each." in result.stderr
    assert "Re-ranking is not finished: 0 trials so far." in result.stdout
    assert result.stdout.splitlines()[-1] == "Next: the same command goes on."


# The next command


def next_command(result: Result) -> str:
    """The command as it is printed."""
    (printed,) = re.findall(r"^Next: (.*)$", result.stdout, re.MULTILINE)
    return str(printed)


@pytest.fixture
def activated(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a shell where the environment is active."""
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)


@pytest.mark.usefixtures("search_study", "activated")
def test_the_next_command_repeats_what_was_typed_but_nothing_of_the_environment(
    storage_url: str, tmp_path: Path
) -> None:
    typed = ["--results-dir", str(tmp_path / "my results")]
    url = storage_url.replace("sqlite:///", "sqlite:///file:") + "?uri=true&password=hunter2"
    result = run("search", *FINISHED, *typed, env={"OPTUNA_STORAGE": url, "MNIST_DIR": str(tmp_path)})
    assert result.exit_code == 0, result.stderr
    words = shlex.split(next_command(result))
    assert words == ["python", "cli.py", "verify-best", "--seeds", "5", *SMALL[-2:], *typed]
    assert "hunter2" not in result.output
    places = ["--storage", storage_url, "--data-dir", str(tmp_path / "data")]
    words = shlex.split(next_command(run("search", *FINISHED, *typed, *places)))
    assert sorted(words[5:]) == sorted([*places, *SMALL[-2:], *typed])


@pytest.mark.usefixtures("search_study", "activated")
def test_the_next_command_keeps_a_secret_that_was_typed(storage_url: str, tmp_path: Path) -> None:
    url = storage_url.replace("sqlite:///", "sqlite:///file:") + "?uri=true&password=hunter2"
    result = run("search", *FINISHED, "--storage", url, "--results-dir", tmp_path / "results")
    assert result.exit_code == 0, result.stderr
    assert "hunter2" not in result.output
    command, comment = next_command(result).split("  # ")
    assert "--storage" not in command
    assert comment == "with the same --storage, or with OPTUNA_STORAGE set to it"


@pytest.mark.usefixtures("search_study")
@pytest.mark.parametrize(
    "python", ["this one", *(pytest.param(other, marks=pytest.mark.slow) for other in ("another", "none"))]
)
def test_the_next_command_names_the_python_that_this_shell_knows(
    python: str, places: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = Path(sys.executable).parent if python == "this one" else tmp_path
    if python == "another":
        (tmp_path / "python").write_text("#!/bin/sh\necho 'The package click is not installed.'\nexit 1\n")
        (tmp_path / "python").chmod(0o755)
    shell = "/bin/sh"
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.chdir(ROOT)
    printed = next_command(run("search", *FINISHED, *places))
    word = shlex.split(printed)[0]
    assert word == "python" if python == "this one" else ROOT / word == Path(sys.executable)
    typed = subprocess.run([shell, "-c", f"{printed} --help"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert typed.stdout.startswith("Usage: python cli.py verify-best"), typed.stderr


# Real runs


def options_of(ended: subprocess.CompletedProcess[str], *left_out: str) -> list[str]:
    """The options with which the finished search was made, to be repeated in this process."""
    return [word for word in ended.args[2:] if word not in left_out]


def test_a_real_search_prints_one_object_about_the_study(finished_search: subprocess.CompletedProcess[str]) -> None:
    assert finished_search.returncode == 0, finished_search.stderr
    facts = json.loads(finished_search.stdout)
    assert list(facts) == SEARCH_KEYS
    assert facts["dataset"] == "sample"
    assert facts["trials"] == {"total": 3, "complete": 3, "pruned": 0, "failed": 0, "interrupted": 0}
    assert facts["epochs"] == {"trained": 3, "saved_by_pruning": 0}
    assert facts["best"]["num_params"] <= 1_999
    assert 10 < facts["best"]["val_accuracy"] <= 100
    assert facts["seconds"] > 0
    standings = {each["number"]: each for each in facts["reranking"]["standings"]}
    assert standings.keys() == {facts["best"]["number"], 0}  # --rerank 1, and the first trial
    assert facts["reranking"]["winner"] in standings
    assert facts["winner"]["number"] == facts["reranking"]["winner"]
    assert {len(each["val_accuracies"]) for each in standings.values()} == {2}
    best = standings[facts["best"]["number"]]
    assert facts["reranking"]["regression"] == pytest.approx(facts["best"]["val_accuracy"] - best["mean"])


def test_a_real_search_prints_a_line_per_trial_elsewhere(finished_search: subprocess.CompletedProcess[str]) -> None:
    lines = finished_search.stderr.splitlines()
    assert len([line for line in lines if "] trial" in line and ", run" not in line]) == 3
    num_reranked = len(json.loads(finished_search.stdout)["reranking"]["standings"])
    first = ", and the study's first trial," if num_reranked > 1 else ""
    assert any(line.endswith(f" Re-ranking the leading 1{first} by 2 further runs each.") for line in lines)
    assert len([line for line in lines if ", run" in line]) == 2 * num_reranked
    assert "\x1b" not in finished_search.stderr


def test_the_same_command_again_does_nothing_and_says_the_same(
    own_search: subprocess.CompletedProcess[str],
) -> None:
    again = run(*options_of(own_search))
    assert again.exit_code == 0
    assert json.loads(again.stdout) == json.loads(own_search.stdout)
    fewer = run(*options_of(own_search), "--rerank", "0", "--trials", "2")  # the last of an option counts
    assert json.loads(fewer.stdout) == json.loads(own_search.stdout)
    assert "The study has 3 trials already: --trials 2 adds none." in fewer.stderr
    assert "The earlier re-ranking stands, as long as no other trial comes to lead." in fewer.stderr
    assert again.stderr == ""


def test_another_number_of_epochs_needs_another_name(own_search: subprocess.CompletedProcess[str]) -> None:
    name = json.loads(own_search.stdout)["study_name"]
    result = run(*options_of(own_search), "--epochs", "2", "--study-name", name)
    assert_refused(result, 1, "number of epochs (1, now 2)", "--study-name")


@pytest.mark.slow
def test_the_next_command_works_as_printed_and_resumes_as_json(
    own_search: subprocess.CompletedProcess[str],
) -> None:
    options = options_of(own_search, "--json")
    printed = next_command(run(*options))
    result = subprocess.run(printed, shell=True, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1].startswith("NOT JUDGED: 99.4 % is a claim about")
    places = options[options.index("--storage") :]
    again = run("verify-best", "--seeds", "2", "--json", *places)  # all seeds are there: no worker starts
    assert again.exit_code == 0
    facts = json.loads(again.stdout)
    assert facts.keys() >= VERIFY_KEYS
    assert facts["confirmed"] is None
    assert [each["seed"] for each in facts["seeds"]] == [10_000, 10_001, 10_002, 10_003, 10_004]
    assert facts["study_name"] == json.loads(own_search.stdout)["study_name"]
    assert facts["attempts"] == 1
    assert [(asked["first_seed"], asked["num_seeds"], asked["target"]) for asked in facts["asked"]] == [
        (10_000, 5, 99.4),
        (10_000, 5, 99.4),  # not 2: more was measured before
    ]
    folder = Path(places[-1]) / facts["study_name"]
    assert json.loads((folder / "verify.json").read_text()) == facts
    assert (folder / "verify.md").read_text().startswith("# NOT JUDGED")
    lines = [json.loads(line) for line in (folder / "attempts.jsonl").read_text().splitlines()]
    looks = {line["seed"]: line["outcome"]["errors"] for line in lines if line["kind"] == "look"}
    assert looks == {row["seed"]: row["errors"] for row in facts["seeds"]}
    (model,) = folder.glob("verify-*-seed-10000.safetensors")
    card = model.with_suffix(".md").read_text()
    assert card.startswith(f"# {model.name}: a network of {facts['num_params']:,} parameters")
    assert f"{facts['seeds'][0]['errors']} errors of 1,000" in card


@pytest.mark.slow
def test_without_workers_a_search_trains_in_its_own_process(
    places: list[str], storage_url: str, tmp_path: Path
) -> None:
    options = ["--dataset", "sample", "--trials", "1", "--epochs", "1", "--rerank", "1", "--max-params", "1000"]
    result = run("search", *options, "--study-name", "here", "--workers", "0", "--json", *places)
    assert result.exit_code == 0, result.stderr
    facts = json.loads(result.stdout)
    assert (facts["trials"]["complete"], facts["reranking"]["finished"]) == (1, True)
    assert (tmp_path / "results" / "here" / facts["winner_model"]).is_file()
    storage = open_storage(storage_url)
    for name in ("here", "here-rerank"):
        owners = [TrialFacts.of(trial).owner for trial in StoredStudy.load(storage, name).trials()]
        assert [owner.pid for owner in owners if owner is not None] == [os.getpid()] * len(owners)
    storage.remove_session()
    storage.engine.dispose()


@pytest.mark.slow
@pytest.mark.full
@pytest.mark.usefixtures("no_mirror")
def test_a_search_on_the_complete_mnist_runs_where_no_test_digits_are(training_files: Path, places: list[str]) -> None:
    options = ["--dataset", "mnist", "--trials", "1", "--epochs", "1", "--rerank", "0", "--max-params", "1000"]
    result = run("search", *options, *places, "--json")
    assert result.exit_code == 0, result.stderr
    facts = json.loads(result.stdout)
    assert (facts["dataset"], facts["trials"]["complete"]) == ("mnist", 1)
    assert facts["best"]["val_accuracy"] > 90
    source = DATASETS["mnist"].source
    assert isinstance(source, IdxFiles)
    assert {path.name for path in training_files.glob("MNIST/raw/*")} == set(source.training)
