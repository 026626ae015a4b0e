import contextlib
import json
import os
import re
import shlex
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import optuna
import psutil
import pytest
import torch
from click.testing import Result
from commands import assert_refused, run
from optuna.storages import RDBStorage
from optuna.trial import TrialState

import space
from cli import cli
from search.data import TRAIN_FILES
from search.storage import open_storage, this_process
from search.study import Binding, open_search_study
from search.tickets import claim_trial
from search.worker import Job, _run_trials

ROOT = Path(space.__file__).parent
SMALL = ["--dataset", "sample", "--epochs", "4", "--max-params", "1999", "--study-name", "small"]  # `search_study`
COMMANDS = ["search", "verify-best", "ablate", "status"]
SEARCH_KEYS = [
    "study_name", "storage", "dataset", "device", "settings", "trials", "epochs", "seconds", "peak_memory_mb", "winner",
    "best",
    "rerank",
]  # fmt: skip
VERIFY_KEYS = {
    "study_name", "trial", "num_params", "channels", "epochs", "target", "dataset", "seeds", "min", "mean", "std",
    "ci95", "pass_share_lower95", "attempts", "confirmed", "commit", "versions",
}  # fmt: skip


# Help


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example_and_defaults(command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    after_example = result.stdout.split("Example:\n", 1)[1].splitlines()
    assert after_example[0].strip().startswith(f"python cli.py {command}")
    assert "[env var: OPTUNA_STORAGE; default: sqlite:///study.db]" in " ".join(result.stdout.split())
    assert max(len(line) for line in result.stdout.splitlines()) <= 100


@pytest.mark.parametrize("command", COMMANDS)
def test_examples_of_the_help_are_commands_that_exist(command: str) -> None:
    examples = re.findall(r"^ +python cli\.py (.*)$", run(command, "--help").stdout, re.MULTILINE)
    assert examples
    for example in examples:
        name, *options = shlex.split(example)
        cli.commands[name].make_context(name, options)


def test_help_shows_the_commands_and_the_exit_codes() -> None:
    result = run("--help")
    assert result.exit_code == 0
    assert all(command in result.stdout for command in COMMANDS)
    assert "python cli.py search --trials 50" in result.stdout
    assert "3 not confirmed" in result.stdout


def test_defaults_are_those_that_are_promised() -> None:
    text = " ".join(run("search", "--help").stdout.split())
    for default in ("[default: 50;", "[default: 7999;", "[default: 15;", "[default: tpe]", "[default: percentile]"):
        assert default in text
    text = " ".join(run("verify-best", "--help").stdout.split())
    for default in ("[default: 5;", "from 10000 on", "[default: 99.4]"):
        assert default in text


def test_the_version_is_printed() -> None:
    assert re.search(r"\d+\.\d+\.\d+", run("--version").stdout)


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import runpy, sys\n"
        "sys.argv = ['cli.py', '--help']\n"
        "try:\n"
        "    runpy.run_path('cli.py', run_name='__main__')\n"
        "except SystemExit as end:\n"
        "    assert end.code == 0\n"
        "print(sorted({'torch', 'torchvision', 'optuna', 'sqlalchemy', 'scipy', 'rich'} & set(sys.modules)))\n"
    )
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert result.stdout.splitlines()[0].startswith("Usage: python cli.py")
    assert result.stdout.splitlines()[-1] == "[]"


def test_without_the_packages_one_line_says_what_to_do() -> None:
    command = [sys.executable, "-S", "-E", "cli.py", "search"]  # without site-packages
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert result.returncode == 1
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert "activate" in result.stderr


# Wrong usage


@pytest.mark.parametrize(
    "options",
    [
        ["search", "--trials", "0"],
        ["search", "--trials", "-3"],
        ["search", "--trials", "many"],
        ["search", "--epochs", "16"],
        ["search", "--epochs", "0"],
        ["search", "--max-params", "10"],
        ["search", "--max-params", "100001"],
        ["search", "--sampler", "grid"],
        ["search", "--pruner", "hyperband"],
        ["search", "--dataset", "cifar10"],
        ["search", "--device", "tpu"],
        ["search", "--seed", "-1"],
        ["search", "--workers", "0"],
        ["search", "--workers", "all"],
        ["search", "--rerank", "-1"],
        ["search", "--timeout", "soon"],
        ["search", "--timeout", "0"],
        ["search", "--timeout", "-5m"],
        ["search", "--timeout", "nan"],
        ["verify-best", "--seeds", "0"],
        ["verify-best", "--seeds", "five"],
        ["verify-best", "--first-seed", "-1"],
        ["verify-best", "--trial", "best"],
        ["verify-best", "--target", "high"],
        ["verify-best", "--target", "0"],
        ["verify-best", "--target", "0.994"],
        ["verify-best", "--target", "1"],
        ["verify-best", "--target", "100.1"],
        ["verify-best", "--target", "nan"],
        ["ablate", "--seeds", "0"],
        ["ablate", "--trial", "best"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_one_line_and_touches_nothing(options: list[str], places: list[str], tmp_path: Path) -> None:
    result = run(*options, *places)
    assert_refused(result, 2, options[1], f"See 'python cli.py {options[0]} --help'.")
    assert len(result.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        (["search", "--trails", "5"], "--trails"),
        (["search", "--trials"], "--trials"),
        (["search", "fifty"], "fifty"),
        (["seach"], "seach"),
        (["--verbose", "search"], "--verbose"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_mistyped_is_told_in_one_line(words: list[str], wrong: str) -> None:
    result = run(*words)
    assert_refused(result, 2, wrong, "See 'python cli.py ", "--help'.")
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("workers", ["0", "-2", "1.5", "all"])
def test_a_wrong_number_of_workers_is_told_what_is_right(workers: str, places: list[str]) -> None:
    wanted = f"{workers!r} is neither 'auto' nor a number of 1 or more"
    assert_refused(run("search", "--workers", workers, *places), 2, "--workers", wanted)


@pytest.mark.parametrize("name", ["reference", "", ".", "..", ".hidden", "a/b", "/tmp", "my-rerank", "my-verify-3"])
def test_a_study_name_that_is_no_folder_of_its_own_is_refused(name: str, places: list[str], tmp_path: Path) -> None:
    result = run("search", "--dataset", "sample", "--study-name", name, *places)
    reasons = {
        "reference": "committed reference study",
        "my-rerank": "follow a search",
        "my-verify-3": "follow a search",
    }
    why = reasons.get(name, "no slashes")
    assert_refused(result, 1, f"Study name {name!r} cannot be used", why)
    assert list(tmp_path.iterdir()) == []


# Storages that cannot be used

BAD_STORAGES = {
    "malformed": ("study.db", "not a database URL"),
    "empty": ("sqlite://", "memory"),
    "of an unknown kind": ("nosuchdb://host/name", "nosuchdb"),
    "in a folder that is not there": ("sqlite:///{folder}/missing/study.db", "missing/study.db"),
    "a folder": ("sqlite:///{folder}", "cannot be used"),
    "a text file": ("sqlite:///{folder}/notes.txt", "not a database"),
    "another program's": ("sqlite:///{folder}/other.db", "not an Optuna database"),
}


@pytest.fixture
def folder_of_files(tmp_path: Path) -> Path:
    """A text file, and a database that is not Optuna's."""
    (tmp_path / "notes.txt").write_text("Not a database, but a text that is long enough to look into. " * 20)
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("CREATE TABLE addresses (name TEXT)")
    other.close()
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(("url", "words"), BAD_STORAGES.values(), ids=BAD_STORAGES)
def test_a_storage_that_cannot_be_used_is_one_line(command: str, url: str, words: str, folder_of_files: Path) -> None:
    options = ["--storage", url.format(folder=folder_of_files)]
    if command != "status":
        options += ["--results-dir", str(folder_of_files / "results")]
    before = {path: path.read_bytes() for path in folder_of_files.iterdir() if path.is_file()}
    assert_refused(run(command, *options, *(["--dataset", "sample"] if command == "search" else [])), 1, words)
    assert {path: path.read_bytes() for path in folder_of_files.iterdir() if path.is_file()} == before


def test_a_storage_without_its_driver_is_one_line_that_keeps_the_password() -> None:
    result = run("status", "--storage", "oracle://me:secret@127.0.0.1/optuna")
    assert_refused(result, 1, "driver")
    assert "secret" not in result.stderr


def test_a_malformed_url_does_not_give_its_password_away() -> None:
    result = run("status", "--storage", "postgresql://me:secret@127.0.0.1:port/optuna")
    assert_refused(result, 1)
    assert "secret" not in result.stderr


def test_a_read_only_storage_can_be_looked_at_but_not_searched(search_study: optuna.Study, tmp_path: Path) -> None:
    url = f"sqlite:///file:{tmp_path / 'study.db'}?mode=ro&uri=true"
    assert run("status", "--storage", url).exit_code == 0
    options = [*SMALL, "--trials", "9"]
    assert_refused(run("search", *options, "--storage", url, "--results-dir", tmp_path / "results"), 1, "--storage")
    assert len(search_study.get_trials()) == 5


# Studies that were made with something else


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dataset": "mnist"}, ["data set (mnist, now sample)"]),
        ({"split": "0123"}, ["split of the data (0123"]),
        ({"max_params": 3_999}, ["parameter budget (3999, now 1999)"]),
        ({"epochs": 15}, ["number of epochs (15, now 4)"]),
        ({"space": "0123"}, ["search space (space.py)"]),
        ({"epochs": 15, "max_params": 3_999}, ["parameter budget", "number of epochs"]),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, dict) else "",
)
def test_a_study_made_with_something_else_is_refused(
    change: dict[str, Any], words: list[str], storage: RDBStorage, sample_binding: Binding, places: list[str]
) -> None:
    study = open_search_study(storage, "small", replace(sample_binding, **change), space.REFERENCE)
    options = [*SMALL, "--trials", "1"]
    assert_refused(run("search", *options, *places), 1, *words, "--study-name")
    assert {name: study.user_attrs[name] for name in asdict(sample_binding)} == asdict(sample_binding) | change


def test_a_study_of_another_program_is_refused(storage: RDBStorage, places: list[str]) -> None:
    optuna.create_study(storage=storage, study_name="foreign")
    assert_refused(
        run("search", "--dataset", "sample", "--study-name", "foreign", *places), 1, "'foreign' was not made"
    )
    assert_refused(run("verify-best", "--study-name", "foreign", *places), 1, "no search study")


# Nothing to verify


def test_there_is_nothing_to_read_before_the_first_search(places: list[str], tmp_path: Path) -> None:
    assert_refused(run("verify-best", *places), 1, "no study yet", "python cli.py search")
    assert_refused(run("ablate", *places), 1, "no study yet", "python cli.py search")
    assert_refused(run("status", *places[:2]), 1, "no study yet", "python cli.py search")
    assert not (tmp_path / "study.db").exists()


def test_there_is_nothing_to_verify_in_an_empty_storage(storage: RDBStorage, places: list[str]) -> None:
    refused = run("verify-best", *places)
    assert_refused(refused, 1, "no search study in this storage (--storage) yet", "python cli.py search")
    assert run("status", *places[:2]).exit_code == 0
    assert json.loads(run("status", *places[:2], "--json").stdout)["studies"] == []


def test_there_is_nothing_to_verify_before_a_trial_is_complete(
    storage: RDBStorage, sample_binding: Binding, places: list[str]
) -> None:
    open_search_study(storage, "small", sample_binding, space.REFERENCE)
    assert_refused(run("verify-best", *places), 1, "no complete trial yet")
    assert_refused(run("ablate", *places), 1, "no complete trial yet")


def test_a_study_that_is_not_there_is_named(search_study: optuna.Study, places: list[str]) -> None:
    assert_refused(run("verify-best", "--study-name", "large", *places), 1, "no search study 'large'", "but: small.")


# Data, device and results


@pytest.mark.usefixtures("no_mirror")
def test_a_missing_data_file_is_one_line(places: list[str]) -> None:
    words = [next(iter(TRAIN_FILES)), "cannot be downloaded", "--data-dir"]
    assert_refused(run("search", "--dataset", "mnist", *places), 1, *words)


@pytest.mark.parametrize("dataset", ["mnist", "auto"])
def test_a_damaged_data_file_is_an_error_never_a_reason_to_take_the_sample(
    dataset: str, places: list[str], tmp_path: Path
) -> None:
    raw = tmp_path / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in TRAIN_FILES:
        (raw / name).write_bytes(b"damaged")
    assert_refused(run("search", "--dataset", dataset, *places), 1, "is damaged", str(raw))
    assert all((raw / name).read_bytes() == b"damaged" for name in TRAIN_FILES)


def test_a_device_that_is_not_there_is_one_line(places: list[str], tmp_path: Path) -> None:
    absent = "mps" if torch.cuda.is_available() else "cuda"
    for command in (["search", "--dataset", "sample"], ["verify-best"]):
        assert_refused(run(*command, "--device", absent, *places), 1, f"No {absent} device", "--device auto")
    assert not (tmp_path / "study.db").exists()


@pytest.mark.parametrize("command", [["search", "--dataset", "sample"], ["verify-best"]], ids=lambda words: words[0])
def test_results_that_cannot_be_written_are_told_before_training(
    command: list[str], search_study: optuna.Study, storage_url: str, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    for results in (tmp_path / "file", tmp_path / "file" / "results"):
        assert_refused(run(*command, "--storage", storage_url, "--results-dir", results), 1, str(tmp_path / "file"))
    assert len(search_study.get_trials()) == 5


# What needs no worker


def test_a_finished_study_is_only_summed_up(search_study: optuna.Study, places: list[str], tmp_path: Path) -> None:
    options = [*SMALL, "--trials", "3", "--rerank", "0"]
    result = run("search", *options, *places, "--json")
    assert result.exit_code == 0
    facts = json.loads(result.stdout)
    assert facts["trials"] == {"total": 3, "complete": 2, "pruned": 1, "failed": 1}
    assert json.loads((tmp_path / "results" / "small" / "summary.json").read_text()) == facts
    assert len(search_study.get_trials()) == 5


def test_quiet_prints_nothing(search_study: optuna.Study, places: list[str]) -> None:
    options = [*SMALL, "--trials", "3", "--rerank", "0"]
    result = run("search", *options, *places, "--quiet")
    assert (result.exit_code, result.output) == (0, "")


@pytest.mark.usefixtures("no_mirror", "search_study")
def test_a_quiet_search_still_warns_that_it_uses_the_sample(places: list[str]) -> None:
    options = [*SMALL, "--dataset", "auto", "--trials", "3", "--rerank", "0"]
    result = run("search", *options, *places, "--quiet")
    assert "sample" in result.stderr
    assert "99.4 %" in result.stderr


def test_a_search_interrupted_before_it_computes_says_so(
    search_study: optuna.Study, places: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def press_ctrl_c(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("search.runner.load_search_splits", press_ctrl_c)
    result = run("search", "--dataset", "sample", *places)
    assert (result.exit_code, result.stdout, result.stderr) == (130, "", "Interrupted.\n")
    assert len(search_study.get_trials()) == 5


def next_command(result: Result) -> list[str]:
    (printed,) = re.findall(r"^Next: (.*)$", result.stdout, re.MULTILINE)
    return shlex.split(printed)


@pytest.mark.usefixtures("search_study")
def test_the_next_command_repeats_what_was_typed_but_nothing_of_the_environment(
    storage_url: str, tmp_path: Path
) -> None:
    options = ["search", *SMALL, "--trials", "3", "--rerank", "0"]
    typed = ["--results-dir", str(tmp_path / "my results")]
    url = storage_url.replace("sqlite:///", "sqlite:///file:") + "?uri=true&password=hunter2"
    result = run(*options, *typed, env={"OPTUNA_STORAGE": url, "MNIST_DIR": str(tmp_path)})
    assert result.exit_code == 0, result.stderr
    assert next_command(result) == ["python", "cli.py", "verify-best", "--seeds", "5", *SMALL[-2:], *typed]
    assert "hunter2" not in result.output
    places = ["--storage", storage_url, "--data-dir", str(tmp_path / "data")]
    result = run(*options, *typed, *places)
    assert sorted(next_command(result)[5:]) == sorted([*places, *SMALL[-2:], *typed])


@pytest.mark.usefixtures("search_study")
def test_a_search_whose_reranking_was_cut_off_says_what_it_was_and_how_to_finish_it(
    places: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.runner.run_workers", lambda *_, **__: True)  # as after Ctrl-C
    options = ["search", *SMALL, "--trials", "3"]
    result = run(*options, "--rerank", "9", *places)
    assert result.exit_code == 130
    assert "Re-ranking the leading 2 (--rerank 9, but no more are complete) by 2 further runs each." in result.stderr
    assert "Re-ranking is not finished: 0 trials so far." in result.stdout
    assert result.stdout.splitlines()[-1] == "Next: the same command goes on."


def test_the_status_lists_studies_with_counts_best_and_stale_trials(
    search_study: optuna.Study, storage_url: str
) -> None:
    search_study.add_trial(optuna.trial.create_trial(state=TrialState.RUNNING))
    facts = json.loads(run("status", "--storage", storage_url, "--json").stdout)
    (row,) = facts["studies"]
    assert (row["study_name"], row["kind"], row["dataset"]) == ("small", "search", "sample")
    assert row["trials"] == {"total": 3, "complete": 2, "pruned": 1, "failed": 1}
    assert (row["best"], row["best_trial"], row["running"], row["stale"]) == (98.5, 2, 2, [5])
    text = run("status", "--storage", storage_url).stdout
    assert "small" in text
    assert "Kind" in text
    assert "search" in text
    assert "98.50" in text
    assert any(line.startswith("small: the workers of trials [5] have ended") for line in text.splitlines())


# Real runs


def options_of(finished_search: subprocess.CompletedProcess[str], *left_out: str) -> list[str]:
    """The options with which the finished search was made, to be repeated in this process."""
    return [word for word in finished_search.args[2:] if word not in left_out]


def test_a_real_search_prints_one_object_about_the_study(finished_search: subprocess.CompletedProcess[str]) -> None:
    assert finished_search.returncode == 0, finished_search.stderr
    facts = json.loads(finished_search.stdout)
    assert list(facts) == SEARCH_KEYS
    assert facts["dataset"] == "sample"
    assert facts["trials"] == {"total": 3, "complete": 3, "pruned": 0, "failed": 0}
    assert facts["epochs"] == {"trained": 3, "saved_by_pruning": 0}
    assert facts["best"]["num_params"] <= 1_999
    assert 10 < facts["best"]["val_accuracy"] <= 100
    assert facts["seconds"] > 0
    (standing,) = facts["rerank"]["standings"]  # --rerank 1
    assert facts["rerank"]["winner"] == standing["number"] == facts["best"]["number"]
    assert facts["winner"] == facts["best"]  # with its parameters
    assert len(standing["val_accuracies"]) == 2
    assert facts["rerank"]["regression"] == pytest.approx(facts["best"]["val_accuracy"] - standing["mean"])


def test_a_real_search_prints_a_line_per_trial_elsewhere(finished_search: subprocess.CompletedProcess[str]) -> None:
    lines = finished_search.stderr.splitlines()
    assert len([line for line in lines if "] trial" in line and ", run" not in line]) == 3
    assert "Re-ranking the leading 1 by 2 further runs each." in lines
    assert len([line for line in lines if ", run" in line]) == 2
    assert "\x1b" not in finished_search.stderr


def test_the_same_command_again_does_nothing_and_says_the_same(
    finished_search: subprocess.CompletedProcess[str],
) -> None:
    again = run(*options_of(finished_search))
    assert again.exit_code == 0
    assert json.loads(again.stdout) == json.loads(finished_search.stdout)
    fewer = run(*options_of(finished_search), "--rerank", "0", "--trials", "2")  # the last of an option counts
    assert json.loads(fewer.stdout) == json.loads(finished_search.stdout)
    assert "The study has 3 trials already: --trials 2 adds none." in fewer.stderr
    assert "The earlier re-ranking stands, as long as no other trial comes to lead." in fewer.stderr
    assert again.stderr == ""


def test_another_number_of_epochs_needs_another_name(finished_search: subprocess.CompletedProcess[str]) -> None:
    name = json.loads(finished_search.stdout)["study_name"]
    result = run(*options_of(finished_search), "--epochs", "2", "--study-name", name)
    assert_refused(result, 1, "number of epochs (1, now 2)", "--study-name")


def test_the_next_command_works_as_printed_and_resumes_as_json(
    finished_search: subprocess.CompletedProcess[str],
) -> None:
    options = options_of(finished_search, "--json")
    (printed,) = re.findall(r"^Next: (.*)$", run(*options).stdout, re.MULTILINE)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path}
    result = subprocess.run(printed, shell=True, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1].startswith("NOT JUDGED: 99.4 % is a claim about MNIST")
    places = options[options.index("--storage") :]
    again = run("verify-best", "--seeds", "2", "--json", *places)  # all seeds are there: no worker starts
    assert again.exit_code == 0
    facts = json.loads(again.stdout)
    assert facts.keys() >= VERIFY_KEYS
    assert facts["confirmed"] is None
    assert [each["seed"] for each in facts["seeds"]] == [10_000, 10_001, 10_002, 10_003, 10_004]
    assert facts["study_name"] == json.loads(finished_search.stdout)["study_name"]
    assert facts["attempts"] == 1
    folder = Path(places[-1]) / facts["study_name"]
    assert json.loads((folder / "verify.json").read_text()) == facts
    assert (folder / "verify.md").read_text().startswith("# NOT JUDGED")
    (model,) = folder.glob("verify-*-seed-10000.safetensors")
    card = model.with_suffix(".md").read_text()
    assert card.startswith(f"# {model.name}: a network of {facts['num_params']:,} parameters")
    assert f"{facts['seeds'][0]['errors']} errors of 1,000" in card


def wait_for_running_trial(process: subprocess.Popen[bytes], study_url: str, study_name: str) -> None:
    """Returns when a trial has drawn its parameters and trains."""
    for _ in range(1_200):
        assert process.poll() is None, "the search has ended before it was killed"
        if running_trials(study_url, study_name):
            return
        time.sleep(0.1)
    pytest.fail("no trial has started")


def running_trials(study_url: str, study_name: str) -> list[str]:
    """Which trials train, read with as little work as possible while they do."""
    path = study_url.removeprefix("sqlite:///")
    if not Path(path).exists():
        return []
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        rows = connection.execute(
            "SELECT number FROM trials JOIN trial_user_attributes USING (trial_id) JOIN studies USING (study_id) "
            "WHERE state = 'RUNNING' AND key = 'channels' AND study_name = ?",
            [study_name],
        )
        return [str(number) for (number,) in rows]
    except sqlite3.OperationalError:  # its tables are not there yet
        return []
    finally:
        connection.close()


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kills a command with its workers, and waits until they are gone, or are zombies that nobody looks after."""
    if process.poll() is not None:
        return
    group = [process.pid, *(child.pid for child in psutil.Process(process.pid).children(recursive=True))]
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for pid in group:
        with contextlib.suppress(psutil.NoSuchProcess):
            while psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                time.sleep(0.05)


def trials_of(study_url: str, study_name: str) -> list[optuna.trial.FrozenTrial]:
    storage = open_storage(study_url)
    trials = optuna.load_study(storage=storage, study_name=study_name).get_trials()
    storage.remove_session()
    storage.engine.dispose()
    return trials


def test_ctrl_c_ends_a_search_after_the_epoch_with_its_record(storage_url: str, places: list[str]) -> None:
    options = ["--dataset", "sample", "--trials", "2", "--workers", "1", "--study-name", "stopped", "--json"]
    command = [sys.executable, "cli.py", "search", *options, *places]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, start_new_session=True)
    try:
        wait_for_running_trial(process, storage_url, "stopped")
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers, too
        stdout, stderr = process.communicate(timeout=120)
    finally:
        if process.poll() is None:
            kill_group(process)
    assert process.returncode == 130, stderr.decode()
    assert b"Stopping after the running epoch" in stderr
    assert json.loads(stdout)["trials"] == {"total": 0, "complete": 0, "pruned": 0, "failed": 1}
    states = [trial.state for trial in trials_of(storage_url, "stopped")]
    assert states == [TrialState.FAIL]  # the first of fifteen epochs ended; nothing is left running


def test_a_search_killed_in_mid_trial_goes_on_where_it_was(storage_url: str, places: list[str]) -> None:
    options = ["--dataset", "sample", "--trials", "3", "--epochs", "2", "--workers", "2", "--study-name", "killed"]
    options += ["--rerank", "0", "--max-params", "1999"]
    command = [sys.executable, "cli.py", "search", *options, *places, "--json"]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        wait_for_running_trial(process, storage_url, "killed")
    finally:
        kill_group(process)
    result = run(*command[2:], "--workers", "1")
    assert result.exit_code == 0, result.stderr
    assert "cut off" in result.stderr
    facts = json.loads(result.stdout)
    assert facts["trials"]["total"] == 3
    trials = trials_of(storage_url, "killed")
    assert {trial.state for trial in trials} <= {TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL}
    finished = [trial for trial in trials if trial.state != TrialState.FAIL]
    assert sorted(trial.user_attrs["ticket"] for trial in finished) == [0, 1, 2]
    interrupted = [trial for trial in trials if trial.state == TrialState.FAIL and "ticket" in trial.user_attrs]
    assert interrupted
    for trial in interrupted:
        (again,) = [each for each in finished if each.user_attrs["ticket"] == trial.user_attrs["ticket"]]
        assert again.number > trial.number
        assert trial.params.items() <= again.params.items()


def test_a_trial_whose_owner_dies_while_others_still_train_is_tried_again(
    storage: RDBStorage, sample_binding: Binding, places: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = open_search_study(storage, "shared", replace(sample_binding, epochs=1), space.REFERENCE)
    trial = claim_trial(study, storage, range(2), sampler="random", seed=0, fixed_params={})
    assert trial is not None
    with subprocess.Popen(["sleep", "600"]) as owner, contextlib.ExitStack() as stack:  # another command's worker
        started = psutil.Process(owner.pid).create_time()
        trial.set_user_attr("owner", this_process() | {"pid": owner.pid, "started": started})

        def train_and_let_the_owner_die(job: Job, *_: Any, **__: Any) -> bool:
            _run_trials(job, "cpu", threading.Event())
            owner.kill()
            owner.wait()
            return False

        stack.callback(owner.kill)  # also where the command is refused
        monkeypatch.setattr("search.runner.run_workers", train_and_let_the_owner_die)
        options = [*SMALL, "--epochs", "1", "--study-name", "shared"]
        result = run("search", *options, "--trials", "2", "--rerank", "0", "--json", *places)
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["trials"] == {"total": 2, "complete": 2, "pruned": 0, "failed": 1}
    assert [each.user_attrs["ticket"] for each in study.trials] == [0, 1, 0]


@pytest.mark.full
@pytest.mark.usefixtures("no_mirror")
def test_a_search_on_the_complete_mnist_runs_where_no_test_digits_are(training_files: Path, places: list[str]) -> None:
    options = ["--dataset", "mnist", "--trials", "1", "--epochs", "1", "--rerank", "0", "--max-params", "1000"]
    result = run("search", *options, *places, "--json")
    assert result.exit_code == 0, result.stderr
    facts = json.loads(result.stdout)
    assert (facts["dataset"], facts["trials"]["complete"]) == ("mnist", 1)
    assert facts["best"]["val_accuracy"] > 90
    assert {path.name for path in training_files.glob("MNIST/raw/*")} == set(TRAIN_FILES)
