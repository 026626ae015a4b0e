import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

Get = Callable[[str], Any]


@pytest.fixture(scope="module")
def summary(finished_search: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(finished_search.stdout)
    return facts


@pytest.fixture(scope="module")
def get(summary: dict[str, Any]) -> Iterator[Get]:
    """Asks the real server about the finished sample study."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = Path(sys.executable).with_name("optuna-dashboard")
    command = [program, summary["storage"], "--host", "127.0.0.1", "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def ask(path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
            return json.load(answer)

    try:
        wait_until_it_answers(server, lambda: ask("/api/meta"))
        yield ask
    finally:
        server.kill()
        server.wait()


def wait_until_it_answers(server: subprocess.Popen[bytes], ask: Callable[[], Any]) -> None:
    for _ in range(600):
        assert server.poll() is None, "the server has ended"
        try:
            ask()
        except OSError:
            time.sleep(0.1)
        else:
            return
    pytest.fail("the server does not answer")


@pytest.fixture(scope="module")
def detail(get: Get, summary: dict[str, Any]) -> dict[str, Any]:
    """What the dashboard shows of the study."""
    studies = get("/api/studies")["study_summaries"]
    (study_id,) = [each["study_id"] for each in studies if each["study_name"] == summary["study_name"]]
    shown: dict[str, Any] = get(f"/api/studies/{study_id}")
    return shown


def attributes(shown: dict[str, Any]) -> dict[str, str]:
    return {each["key"]: each["value"] for each in shown["user_attrs"]}


def test_the_dashboard_shows_the_study_and_its_attributes(detail: dict[str, Any], summary: dict[str, Any]) -> None:
    assert detail["name"] == summary["study_name"]
    assert detail["directions"] == ["maximize"]
    shown = attributes(detail)
    assert (shown["dataset"], shown["max_params"], shown["epochs"]) == ("sample", "1999", "1")


def test_the_dashboard_shows_every_trial_with_its_parameters(detail: dict[str, Any], summary: dict[str, Any]) -> None:
    assert [trial["number"] for trial in detail["trials"]] == [0, 1, 2]
    for trial in detail["trials"]:
        assert trial["state"] in ("Complete", "Pruned")
        assert {param["name"] for param in trial["params"]} == summary["best"]["params"].keys()
    assert len(detail["intersection_search_space"]) == len(summary["best"]["params"])


def test_the_dashboard_shows_accuracy_epoch_by_epoch(detail: dict[str, Any]) -> None:
    assert detail["has_intermediate_values"] is True
    for trial in detail["trials"]:
        (epoch,) = trial["intermediate_values"]
        assert epoch["step"] == 1
        assert abs(epoch["value"] - trial["values"][0]) < 20  # the same network, with one view and with all


def test_the_dashboard_agrees_with_the_summary_on_the_best_trial(
    detail: dict[str, Any], summary: dict[str, Any]
) -> None:
    (best,) = detail["best_trials"]
    assert best["number"] == summary["best"]["number"]
    assert best["values"] == [summary["best"]["val_accuracy"]]


def test_size_and_channels_are_columns_of_the_trial_table(detail: dict[str, Any], summary: dict[str, Any]) -> None:
    columns = {each["key"]: each["sortable"] for each in detail["union_user_attrs"]}
    assert columns["num_params"] is True
    best = attributes(detail["trials"][summary["best"]["number"]])
    assert int(best["num_params"]) == summary["best"]["num_params"] <= 1_999
    assert json.loads(best["channels"]) == summary["best"]["channels"]


def test_the_study_and_its_winner_carry_a_note(detail: dict[str, Any], summary: dict[str, Any]) -> None:
    best = summary["best"]
    assert "1,999" in detail["note"]["body"]
    assert f"trial {best['number']}, {best['val_accuracy']:.2f} %" in detail["note"]["body"]
    assert f"Not proved yet: trial {summary['winner']['number']} has won" in detail["note"]["body"]
    assert "Winner of the re-ranking" in detail["trials"][summary["winner"]["number"]]["note"]["body"]
