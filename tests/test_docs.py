"""The README says what is so."""

import re
from pathlib import Path

import pytest
import torch

from search.data import Split
from tools import readme

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_generated_parts_of_the_readme_are_up_to_date() -> None:
    assert readme.generate(TEXT) == TEXT, "run 'make format'"


def test_every_local_link_of_the_readme_leads_somewhere() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", TEXT) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_snippet_that_loads_the_saved_model_works_as_printed(
    final_splits: tuple[Split, Split], monkeypatch: pytest.MonkeyPatch
) -> None:
    (snippet,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    monkeypatch.chdir(ROOT)
    images, labels = final_splits[1].images, final_splits[1].labels
    names: dict[str, torch.Tensor] = {"images": images}
    exec(snippet, names)
    assert (names["digits"] == labels).float().mean() > 0.99


def test_the_commands_of_the_readme_are_the_three_that_were_promised() -> None:
    for command in (
        "python cli.py search --trials 50",
        "optuna-dashboard sqlite:///study.db",
        "python cli.py verify-best --seeds 5",
    ):
        assert command in TEXT
