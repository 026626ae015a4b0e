"""What is shown to people: on a terminal, and elsewhere."""

import pytest
from rich.console import Group
from rich.table import Table
from rich.text import Text

from search.commands.output import show

SENTENCE = (
    "Models there: winner.safetensors (the winner's: trial 0, its first further run); trained on the search's training "
    "digits. verify-best trains the winner on all of them, and that model is to be used."
)


@pytest.mark.parametrize("width", [40, 60, 80, 110])
def test_at_a_terminal_a_sentence_is_wrapped_between_words_and_nothing_of_it_is_lost(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", str(width))
    show(Group(Text(SENTENCE), Text("The end.", style="green")))
    printed = capsys.readouterr().out
    lines = [line.rstrip() for line in printed.replace("\x1b[0m", "").replace("\x1b[32m", "").splitlines()]
    assert max(map(len, lines)) <= width
    assert " ".join(lines).split() == [*SENTENCE.split(), "The", "end."]


def test_elsewhere_a_sentence_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    show(Group(Text(SENTENCE), Text("The end.")))
    assert capsys.readouterr().out.splitlines() == [SENTENCE, "The end."]


@pytest.mark.parametrize("terminal", ["0", "1"])
def test_what_would_steer_a_terminal_is_written_as_python_writes_it(
    terminal: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", terminal)
    monkeypatch.setenv("NO_COLOR", "1")
    table = Table(box=None)
    table.add_column("Study")
    table.add_row(Text("a\x1b]0;title\x07b"))
    show(Group(table, Text("c\rd")))
    printed = capsys.readouterr().out
    assert "\x1b]" not in printed
    assert "\x07" not in printed
    assert "\r" not in printed.replace("\r\n", "\n")
