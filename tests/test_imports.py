"""Who may import what: the map that keeps the modules apart."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# Imported packages of each module, those inside functions and for type checking included.
THIRD_PARTY = {
    "cli": {"click", "rich"},
    "space": {"optuna"},
    "search.ablate": {"optuna"},
    "search.arguments": {"click"},
    "search.attempts": {"optuna"},
    "search.augment": {"jaxtyping", "torch"},
    "search.card": set(),
    "search.config": set(),
    "search.console": {"optuna", "rich"},
    "search.data": {"jaxtyping", "mlxtend", "torch", "torchvision"},
    "search.files": set(),
    "search.final": {"optuna", "torch"},
    "search.ladder": {"matplotlib"},
    "search.memory": {"psutil"},
    "search.model": {"jaxtyping", "safetensors", "torch"},
    "search.objective": {"optuna", "torch"},
    "search.options": {"optuna"},
    "search.proofs": set(),
    "search.provenance": set(),
    "search.report": {"optuna", "optuna_dashboard"},
    "search.reproduce": {"optuna", "scipy", "torch"},
    "search.rerank": {"optuna"},
    "search.runner": {"optuna", "torch"},
    "search.storage": {"filelock", "optuna", "psutil", "sqlalchemy"},
    "search.study": {"optuna"},
    "search.summaries": {"rich"},
    "search.tickets": {"optuna"},
    "search.train": {"torch"},
    "search.verdict": {"optuna", "scipy"},
    "search.verify": {"optuna"},
    "search.worker": {"optuna", "torch"},
    "search.workers": {"optuna"},
}
# Imported modules of our own.
OURS = {
    "cli": {
        "arguments", "config", "console", "options", "proofs", "report", "runner", "space",
        "storage", "study", "summaries",
    },
    "space": {"config"},
    "search.ablate": {"config", "final", "objective", "study", "train", "verdict"},
    "search.arguments": {"config"},
    "search.attempts": {"storage", "study"},
    "search.augment": {"config", "data"},
    "search.card": {"verdict"},
    "search.config": set(),
    "search.console": {"report", "study", "summaries", "tickets"},
    "search.data": {"config"},
    "search.files": set(),
    "search.final": {"config", "data", "model", "objective", "provenance", "train"},
    "search.ladder": {"verdict"},
    "search.memory": set(),
    "search.model": {"config", "files"},
    "search.objective": {"config", "data", "memory", "model", "provenance", "storage", "study", "train"},
    "search.options": {"objective"},
    "search.proofs": {
        "ablate", "attempts", "card", "data", "files", "ladder", "objective", "options",
        "provenance", "reproduce", "runner", "storage", "study", "verdict", "verify",
    },
    "search.provenance": set(),
    "search.report": {"files", "storage", "study", "tickets"},
    "search.reproduce": {"config", "data", "model", "study", "train", "verdict"},
    "search.rerank": {"config", "objective", "study"},
    "search.runner": {
        "config", "data", "files", "objective", "options", "provenance", "report", "rerank",
        "storage", "study", "tickets", "train", "worker", "workers",
    },
    "search.storage": {"config"},
    "search.study": {"config", "provenance", "storage"},
    "search.summaries": {"ladder", "report", "verdict"},
    "search.tickets": {"config", "storage", "study"},
    "search.train": {"augment", "config", "data", "model"},
    "search.verdict": set(),
    "search.verify": {"config", "final", "model", "objective", "rerank", "study", "train"},
    "search.worker": {"config", "storage", "tickets"},
    "search.workers": {"tickets", "worker"},
}  # fmt: skip
MODULES = sorted(THIRD_PARTY)


def path_of(module: str) -> Path:
    return ROOT / f"{module.replace('.', '/')}.py"


def imported(module: str, *, at_top_only: bool = False) -> set[str]:
    """The full names of what a module imports."""
    tree = ast.parse(path_of(module).read_text(encoding="utf-8"))
    names: set[str] = set()
    for node in tree.body if at_top_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "absolute imports only"
            submodules = {f"{node.module}.{alias.name}" for alias in node.names if node.module == "search"}
            names |= submodules or {str(node.module)}
    return names


def loaded_with(module: str) -> set[str]:
    """The packages that importing a module loads at once, through our other modules too."""
    packages, waiting, seen = set(), [module], set()
    while waiting:
        current = waiting.pop()
        seen.add(current)
        names = imported(current, at_top_only=True)
        packages |= {name.partition(".")[0] for name in names}
        waiting += [name for name in names if name in THIRD_PARTY and name not in seen]
    return packages


def test_the_map_names_every_module() -> None:
    ours = {f"search.{path.stem}" for path in (ROOT / "search").glob("*.py") if path.stem != "__init__"}
    assert {"cli", "space"} | ours == THIRD_PARTY.keys() == OURS.keys()


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_the_packages_on_the_map(module: str) -> None:
    packages = {name.partition(".")[0] for name in imported(module)}
    assert packages - sys.stdlib_module_names - {"search", "space"} == THIRD_PARTY[module]


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_the_modules_on_the_map(module: str) -> None:
    names = {name for name in imported(module) if name.partition(".")[0] in ("search", "space", "cli")}
    assert {name.removeprefix("search.") for name in names} == OURS[module]


def test_imports_run_one_way() -> None:
    waiting = {module: {name if name == "space" else f"search.{name}" for name in OURS[module]} for module in MODULES}
    while waiting:
        ready = {module for module, needed in waiting.items() if not needed & waiting.keys()}
        assert ready, f"a circle among {sorted(waiting)}"
        waiting = {module: needed for module, needed in waiting.items() if module not in ready}


@pytest.mark.parametrize(
    "module",
    [
        "cli",
        "space",
        "search.config",
        "search.storage",
        "search.study",
        "search.tickets",
        "search.report",
        "search.verdict",
        "search.console",
    ],
)
def test_what_only_reads_records_does_not_load_torch(module: str) -> None:
    assert not loaded_with(module) & {"torch", "torchvision", "safetensors"}


def test_the_command_line_loads_nothing_heavy_before_a_command_needs_it() -> None:
    assert loaded_with("cli") <= sys.stdlib_module_names | {"click", "search"}
