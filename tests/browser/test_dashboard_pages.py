"""The dashboard in a real browser: the study's note, its figures, and the winner's files."""

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

from search.runs.boards import CURVE
from search.settings import ARTIFACTS

pytestmark = pytest.mark.slow
Open = Callable[..., Any]


@pytest.fixture(scope="module")
def summary(finished_search: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(finished_search.stdout)
    return facts


@pytest.fixture(scope="module")
def dashboard(summary: dict[str, Any], finished_search: subprocess.CompletedProcess[str]) -> Iterator[str]:
    """The address of a server that shows the finished sample study."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    [results] = [word for before, word in zip(finished_search.args, finished_search.args[1:], strict=False)
                 if before == "--results-dir"]  # fmt: skip
    program = Path(sys.executable).with_name("optuna-dashboard")
    command = [program, summary["storage"], "--port", str(port), "--artifact-dir", Path(results) / ARTIFACTS]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(f"{address}/api/meta", timeout=30).close()
                break
            except OSError:
                time.sleep(0.1)
        yield address
    finally:
        server.kill()
        server.wait()


@pytest.fixture
def study(dashboard: str, summary: dict[str, Any]) -> str:
    with urllib.request.urlopen(f"{dashboard}/api/studies", timeout=30) as answer:
        studies = json.load(answer)["study_summaries"]
    [number] = [each["study_id"] for each in studies if each["study_name"] == summary["study_name"]]
    return f"{dashboard}/dashboard/studies/{number}"


def test_the_note_tells_where_the_study_stands(study: str, open_page: Open, keep: Callable[[Any], None]) -> None:
    page = open_page(f"{study}/note", outside=True)
    page.get_by_text("Not proved yet: trial").first.wait_for()
    page.get_by_text("python cli.py verify-best").first.wait_for()
    keep(page)


def test_accuracy_against_parameters_is_drawn(study: str, open_page: Open, keep: Callable[[Any], None]) -> None:
    page = open_page(study, outside=True)
    page.get_by_text("Accuracy against parameters").first.wait_for()
    page.get_by_text("report.html").first.wait_for()
    keep(page)


def test_the_winner_carries_its_model_and_its_curve(
    study: str, summary: dict[str, Any], open_page: Open, keep: Callable[[Any], None]
) -> None:
    page = open_page(f"{study}/trials?numbers={summary['winner']['number']}", outside=True)
    for name in ("winner.safetensors", CURVE):
        page.get_by_text(name).first.wait_for()
    keep(page)
