"""The parts of the pages that show what is where in the code: a line per folder, and a line per module."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LAYERS = ("commands", "runs", "show", "proof", "studies", "net")  # of `search/`: each imports from those after it
OTHERS = {
    "tests/": "Tests, a file per module, on the real digits of the sample.",
    "docs/": "The pages below.",
    "results/reference/": "The reference study: database, records, models.",
    "results/frontier/": "The frontier: its studies in one database, and records by budget.",
    "results/fashion-mnist/": "A search and a proof on Fashion-MNIST.",
    "results/LOG.md": "What was tried and measured, failures included.",
}


def file_tree() -> str:
    """A line per package: the first sentence of its docstring."""
    described = {name: _first_sentence(ROOT / name) for name in ("cli.py", "space.py")}
    described |= {f"{_name(package)}/": _first_sentence(package / "__init__.py") for package in _packages()}
    tree = described | OTHERS
    width = max(map(len, tree)) + 2
    lines = [f"{name:<{width}}{line}" for name, line in tree.items()]
    return "```\n" + "\n".join(lines) + "\n```\n"


def modules() -> str:
    """A table per package: each module's first line."""
    sections = []
    for package in _packages():
        rows = [f"| `{path.name}` | {_first_line(path)} |" for path in _modules_of(package)]
        table = "\n".join(["| | |", "|---|---|", *rows])
        sections.append(f"## {_name(package)}\n\n{_first_line(package / '__init__.py')}\n\n{table}\n")
    return "\n".join(sections)


def _packages() -> list[Path]:
    search = ROOT / "search"
    found = {path.parent.name for path in search.glob("*/__init__.py")}
    assert found == set(LAYERS), f"LAYERS in {__file__} has to name these packages: {sorted(found)}"
    inner = [path for layer in LAYERS for path in (search / layer, *_folders_in(search / layer))]
    return [search, *inner, ROOT / "benchmarks", ROOT / "tools"]


def _folders_in(package: Path) -> list[Path]:
    return sorted(path.parent for path in package.glob("*/__init__.py"))


def _modules_of(package: Path) -> list[Path]:
    return [path for path in sorted(package.glob("*.py")) if path.name != "__init__.py"]


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _first_sentence(path: Path) -> str:
    return _first_line(path).split(". ")[0].removesuffix(".") + "."


def _first_line(path: Path) -> str:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert docstring, f"{path} has no docstring"
    return docstring.splitlines()[0]
