"""Writes the generated parts of the pages anew, and the texts beside the committed proofs.

python -m tools.docs            writes them
python -m tools.docs --check    writes nothing, and fails if one is stale
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import click

from search.config import ExplainedError
from tools.constants import views
from tools.earned import rivals, samplers
from tools.frontier import claim, frontier
from tools.help_texts import help_texts
from tools.other_sets import fashion
from tools.reliability import reliability
from tools.results import evidence, ladder_table, proof_pages, result_table
from tools.scaling import scaling
from tools.schema import record_tables, schema_json
from tools.speed import speed
from tools.tree import file_tree, modules

ROOT = Path(__file__).resolve().parent.parent
SCHEMA = ROOT / "docs" / "records.schema.json"
MARKED = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
PARTS: dict[str, Callable[[], str]] = {
    "claim": claim,
    "frontier": frontier,
    "results": result_table,
    "samplers": samplers,
    "rivals": rivals,
    "evidence": evidence,
    "ladder": ladder_table,
    "fashion": fashion,
    "speed": speed,
    "reliability": reliability,
    "scaling": scaling,
    "views": views,
    "help": help_texts,
    "records": record_tables,
    "tree": file_tree,
    "modules": modules,
}


def pages() -> list[Path]:
    """The pages that people read."""
    return [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]


def generate(text: str) -> str:
    """A page with every generated part anew."""
    return MARKED.sub(lambda match: match[1] + PARTS[match[2]]() + match[3], text)


def generate_all() -> Iterator[tuple[Path, str]]:
    """Every file that has something generated, as it should be.

    Raises:
        FileNotFoundError: If a record is missing.
        ExplainedError: If a record is damaged, old, or of something else than the others.
    """
    for page in pages():
        yield page, generate(page.read_text(encoding="utf-8"))
    yield SCHEMA, schema_json()
    yield from proof_pages()


def is_stale(path: Path, generated: str) -> bool:
    return not path.exists() or path.read_text(encoding="utf-8") != generated


@click.command()
@click.option("--check", is_flag=True, help="Write nothing; fail if something is stale.")
def main(check: bool) -> None:
    """Writes what is generated of README.md, docs/ and results/ anew, from the code and the committed records."""
    try:
        stale = {path: generated for path, generated in generate_all() if is_stale(path, generated)}
    except FileNotFoundError as error:
        raise click.ClickException(f"{error.filename} is missing.") from error
    except ExplainedError as error:
        raise click.ClickException(str(error)) from error
    names = ", ".join(str(path.relative_to(ROOT)) for path in stale)
    if check and stale:
        raise click.ClickException(f"Stale: {names}. Run 'make format'.")
    for path, generated in stale.items():
        path.write_text(generated, encoding="utf-8")
    click.echo(f"Written: {names}." if stale else "All is up to date.")


if __name__ == "__main__":
    main()
