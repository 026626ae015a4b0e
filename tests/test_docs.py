"""The pages say what is so."""

import re
import shlex
import subprocess
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from urllib.parse import unquote

import click
import pytest
import torch
from click.testing import CliRunner
from evidence import make_proof, make_summary

from cli import cli
from search.net.data import Split
from search.proof.parts import RecordError, Spread
from search.show.published import PUBLISHED
from tools import docs, other_sets, results, schema, tree

ROOT = Path(__file__).resolve().parent.parent
PAGES = {page.relative_to(ROOT).as_posix(): page.read_text(encoding="utf-8") for page in docs.pages()}
README = PAGES["README.md"]
BENCHMARKS = (
    "beyond_random", "chaos", "crowds", "orchestration", "points", "pruners", "repeat", "samplers",
    "scaling", "step_profile", "throughput",
)  # fmt: skip
OTHERS_OPTIONS = {  # pip's, Slurm's, Optuna's, TensorBoard's
    "--extra-index-url", "--no-deps", "--array", "--batch", "--signal", "--artifact-dir", "--logdir",
}  # fmt: skip


def code_in(text: str) -> Iterator[str]:
    """Lines of code blocks without their comments, and what stands in backticks."""
    blocks = re.findall(r"^```[a-z]*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    for line in "".join(blocks).splitlines():
        yield line.partition("#")[0]
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    yield from re.findall(r"`([^`]+)`", prose)


def options_of(command: click.Command) -> set[str]:
    return {"--help"} | {name for param in command.params for name in param.opts}


def commands_in(text: str) -> list[tuple[str, list[str]]]:
    """The commands of ours that a page names, each with the options that it names there."""
    lines = [match for code in code_in(text) for match in re.finditer(r"python cli\.py ([a-z][a-z-]*)(.*)", code)]
    return [(match[1], re.findall(r"(?<!\S)--[a-z-]+", match[2])) for match in lines]


def anchors_of(text: str) -> set[str]:
    """What GitHub calls the headings."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_everything_generated_is_up_to_date() -> None:
    stale = [str(path.relative_to(ROOT)) for path, text in docs.generate_all() if docs.is_stale(path, text)]
    assert stale == [], "run 'make format'"


def test_every_part_stands_on_exactly_one_page() -> None:
    parts = [match[2] for text in PAGES.values() for match in docs.MARKED.finditer(text)]
    assert sorted(parts) == sorted(docs.PARTS)


@pytest.mark.slow
def test_a_check_names_the_stale_page_and_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page, stale = tmp_path / "docs" / "code.md", "<!-- generated: modules -->\nold\n<!-- end -->\n"
    page.parent.mkdir()
    page.write_text(stale, encoding="utf-8")
    (tmp_path / "README.md").write_text("nothing here", encoding="utf-8")
    monkeypatch.setattr(docs, "ROOT", tmp_path)
    monkeypatch.setattr(docs, "SCHEMA", tmp_path / "docs" / "records.schema.json")
    checked = CliRunner().invoke(docs.main, ["--check"])
    assert checked.exit_code == 1
    assert checked.stderr == "Error: Stale: docs/code.md, docs/records.schema.json. Run 'make format'.\n"
    assert page.read_text(encoding="utf-8") == stale
    assert CliRunner().invoke(docs.main).exit_code == 0
    assert page.read_text(encoding="utf-8") == docs.generate(stale)
    assert CliRunner().invoke(docs.main, ["--check"]).exit_code == 0


def test_a_record_that_is_missing_or_old_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "REFERENCE", tmp_path)
    checked = CliRunner().invoke(docs.main, ["--check"])
    assert checked.exit_code == 1
    assert checked.stderr == f"Error: {tmp_path / 'summary.json'} is missing.\n"
    (tmp_path / "summary.json").write_text('{"study_name": "old"}', encoding="utf-8")
    with pytest.raises(RecordError, match=r"summary\.json was written by an earlier version"):
        results.result_table()


def test_another_data_set_is_shown_beside_published_networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(other_sets, "FASHION", tmp_path)
    make_summary(dataset="fashion-mnist").write(tmp_path / "summary.json")
    make_proof([700, 720], dataset="fashion-mnist", target=92.0).write(tmp_path / "verify.json")
    told = other_sets.fashion()
    assert "**CONFIRMED: every one of 2 fresh seeds reaches 92 % on the 10,000 test images" in told
    assert "| **92.90 %**, minimum 92.80 %, of 2 fresh seeds | this tool, mean of" in told
    sizes = [int(size.replace(",", "")) for size in re.findall(r"^\| ([\d,]+) \|", told, re.MULTILINE)]
    assert sizes == sorted(sizes)
    assert len(sizes) == 2 + len(PUBLISHED["fashion-mnist"])


def test_every_local_link_of_the_pages_leads_somewhere() -> None:
    broken = []
    for name, text in PAGES.items():
        links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
        assert links or name in ("docs/cli.md", "docs/code.md")
        for link in links:
            path, _, anchor = unquote(link).partition("#")
            target = (ROOT / name).parent / path if path else ROOT / name
            if not target.exists() or (anchor and anchor not in anchors_of(target.read_text(encoding="utf-8"))):
                broken.append((name, link))
    assert broken == []


def test_the_snippet_that_loads_the_saved_model_works_as_printed(
    final_splits: tuple[Split, Split], monkeypatch: pytest.MonkeyPatch
) -> None:
    (snippet,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
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
        assert command in README


@pytest.mark.parametrize("name", PAGES)
def test_every_command_on_a_page_exists_with_its_options(name: str) -> None:
    for command, options in commands_in(PAGES[name]):
        assert command in cli.commands
        assert set(options) <= options_of(cli.commands[command]), command


def test_commands_are_found_where_they_are() -> None:
    named = {command for text in PAGES.values() for command, _ in commands_in(text)}
    assert named == set(cli.commands)
    assert ("verify-best", ["--seeds"]) in commands_in(README)


@pytest.mark.parametrize("name", PAGES)
def test_every_option_on_a_page_is_one_of_some_command(name: str) -> None:
    mains = [import_module(f"benchmarks.{benchmark}").main for benchmark in BENCHMARKS]
    known = set().union(*map(options_of, [cli, docs.main, *cli.commands.values(), *mains]))
    named = {option for code in code_in(PAGES[name]) for option in re.findall(r"(?<!\S)--[a-z][a-z-]*", code)}
    assert named - known <= OTHERS_OPTIONS


def test_every_module_that_is_run_by_name_exists_and_has_a_command() -> None:
    named = {module for text in PAGES.values() for module in re.findall(r"python -m ([a-z_]+\.[a-z_]+)", text)}
    assert named == {*(f"benchmarks.{benchmark}" for benchmark in BENCHMARKS), "tools.docs"}
    for module in named:
        assert isinstance(import_module(module).main, click.Command)


def test_every_make_target_on_a_page_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    named = {
        target for text in PAGES.values() for code in code_in(text) for target in re.findall(r"^make ([a-z]+)", code)
    }
    assert {"search", "test", "check"} <= named <= targets


def test_what_is_named_to_make_reaches_the_command() -> None:
    made = subprocess.run(
        ["make", "--dry-run", "--old-file=.venv/installed", "search", "verify", "TRIALS=7", "SEEDS=3",
         "STUDY=it's mine"],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert [shlex.split(line)[1:] for line in made.stdout.splitlines() if "cli.py" in line] == [
        ["cli.py", "search", "--trials", "7", "--study-name", "it's mine"],
        ["cli.py", "verify-best", "--seeds", "3", "--study-name", "it's mine"],
    ]


# Tree and modules


def test_the_tree_and_the_modules_name_every_file_of_code() -> None:
    shown = tree.modules()
    for package in ("search", "benchmarks", "tools"):
        for path in (ROOT / package).rglob("*.py"):
            assert path.name == "__init__.py" or f"| `{path.name}` | " in shown
    assert all(f"\n{name}/ " in tree.file_tree() for name in ("search", "search/net", "benchmarks", "tools", "tests"))


# Records


def test_every_field_of_every_record_is_described() -> None:
    definitions = schema.record_schema()["$defs"]
    assert {record.__name__ for record in schema.RECORDS} <= definitions.keys()
    fields = [(name, *item) for name, part in definitions.items() for item in part["properties"].items()]
    assert [(name, field) for name, field, described in fields if not described["description"]] == []


def test_a_docstring_is_read_as_its_first_paragraph_and_what_it_says_of_each_field() -> None:
    text = "What it\nis.\n\nMore.\n\nAttributes:\n    min, max: The ends\n        of it: both.\n    file: Its name."
    meanings = {"min": "The ends of it: both.", "max": "The ends of it: both.", "file": "Its name."}
    assert schema.read_docstring(text) == ("What it is.", meanings)
    assert schema.read_docstring("What it is.") == ("What it is.", {})


def test_a_table_tells_types_in_plain_words_and_which_fields_are_derived() -> None:
    tables = schema.record_tables()
    assert "| `seeds` | list of [MeasuredSeed](#measuredseed) | " in tables
    assert "| `confirmed` | true, false or null | *Derived.* Whether every measured seed " in tables
    assert "| `ci95` | 2 numbers or null | *Derived.* " in tables
    assert "| `errors` | integer ≥ 0 | " in tables
    [accuracies] = re.findall(r"### Spread.*?`accuracies` \| (.*?) \|", tables, re.DOTALL)
    assert accuracies == "list of percentages"
    assert Spread.__doc__ is not None
    assert schema.read_docstring(Spread.__doc__)[0] in tables
