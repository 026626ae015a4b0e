"""Where a result comes from: the code, the space and the libraries."""

import ast
import functools
import hashlib
import importlib.metadata
import platform
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .config import PACKAGE_NAMES, ExplainedError

RECORDED_PACKAGES = ("torch", "torchvision", "optuna", "numpy", "numba")


class CodeError(ExplainedError):
    """The code is not that which a command was started with."""


def space_hash(path: Path) -> str:
    """A hash of a module's code. Comments, docstrings and layout do not count, nor which name this package has."""
    return _hash_of_code(path.read_bytes())


@functools.lru_cache(maxsize=8)  # a command asks again and again, of one text
def _hash_of_code(text: bytes) -> str:
    tree = ast.parse(text)
    for imported in imports_of_this_package(tree):
        rename(imported, PACKAGE_NAMES[0])
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return hashlib.sha256(repr(_signature(tree)).encode()).hexdigest()[:16]


def imports_of_this_package(tree: ast.Module) -> Iterator[ast.ImportFrom | ast.alias]:
    """Where a module imports it, by one of its names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and not node.level and _is_ours(node.module):
            yield node
        elif isinstance(node, ast.Import):
            yield from (alias for alias in node.names if _is_ours(alias.name))


def _is_ours(module: str | None) -> bool:
    return (module or "").partition(".")[0] in PACKAGE_NAMES


def rename(node: ast.ImportFrom | ast.alias, package: str) -> None:
    """Has it import the package by that name."""
    _, dot, rest = str(node.module if isinstance(node, ast.ImportFrom) else node.name).partition(".")
    if isinstance(node, ast.ImportFrom):
        node.module = package + dot + rest
    else:
        node.name = package + dot + rest


def _signature(node: object) -> object:
    """A syntax tree without its empty fields, of which each version of Python has others (so has `ast.dump`)."""
    if isinstance(node, ast.AST):
        fields = [(name, _signature(value)) for name, value in ast.iter_fields(node) if value not in (None, [])]
        return type(node).__name__, fields
    return [_signature(element) for element in node] if isinstance(node, list) else repr(node)


@dataclass(frozen=True, kw_only=True)
class Code:
    """The code that a command was started with.

    Attributes:
        hash: Of all of this tool's files and of the search space's, byte by byte.
        space: The search space's file.
    """

    commit: str
    hash: str
    space: Path

    @classmethod
    def at_hand(cls, space: Path) -> "Code":
        return cls(commit=code_commit(), hash=_code_hash(space), space=space)

    def check(self) -> None:
        """Raises CodeError where a file was changed since: a process that starts later would compute otherwise."""
        try:
            changed = _code_hash(self.space) != self.hash
        except OSError:  # a file is gone
            changed = True
        if changed:
            raise CodeError(
                "The code of this tool or the search space was changed while the command ran. Nothing is lost: run the "
                "same command again."
            )


def _code_hash(space: Path) -> str:
    package = Path(__file__).resolve().parent
    digest = hashlib.sha256()
    for path in (*sorted(package.rglob("*.py")), space):
        if path.is_file():  # not an editor's lock, which is a link to nowhere
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


@functools.cache  # what is loaded stays, and every trial asks
def versions() -> dict[str, str]:
    packages = {name: importlib.metadata.version(name) for name in RECORDED_PACKAGES}
    return {"python": platform.python_version(), **packages}


def code_commit() -> str:
    """The commit that this code comes from, marked where it was edited since; "unknown" outside a checkout."""
    root = Path(__file__).resolve().parent.parent
    try:
        git = ["git", "-C", str(root)]
        top, commit = subprocess.run(
            [*git, "rev-parse", "--show-toplevel", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.splitlines()
        if Path(top).resolve() != root:
            return "unknown"  # of a repository that only happens to hold the installation
        changes = [*git, "status", "--porcelain", "--", "search", "space.py"]
        edited = subprocess.run(changes, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{commit}+edited" if edited else commit
