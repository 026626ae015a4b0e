"""What is loaded when. Who may import what is said by the contracts in pyproject.toml, which are checked here, too."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TENSORS = {"torch", "torchvision", "safetensors", "jaxtyping"}
HEAVY = {*TENSORS, "matplotlib", "numpy", "optuna", "pydantic", "rich", "scipy", "sqlalchemy"}
# Prints which packages are loaded when modules are.
LOAD = "import importlib, sys; [*map(importlib.import_module, sys.argv[1:])]; print(*{*sys.modules})"
# The same of the command line's help.
SHOW_HELP = (
    "import runpy, sys; sys.path.insert(0, '.'); sys.argv = ['cli.py', '--help']\n"
    "try: runpy.run_path('cli.py', run_name='__main__')\n"
    "except SystemExit as end: assert end.code == 0\n"
    "print(*{*sys.modules})"
)


def loaded(program: str, *words: str) -> set[str]:
    """The packages that a program, run in a fresh process, prints in its last line."""
    command = [sys.executable, "-c", program, *words]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    return {name.partition(".")[0] for name in result.stdout.splitlines()[-1].split()}


def modules_in(*folders: str) -> list[str]:
    """All modules of some of our packages."""
    paths = [path for folder in folders for path in sorted((ROOT / "search" / folder).glob("*.py"))]
    return [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths if path.stem != "__init__"]


def test_the_contracts_on_imports_are_kept() -> None:
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache", "--no-logo"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stdout
    assert " kept, 0 broken." in result.stdout


def test_help_loads_nothing_heavy() -> None:
    found = loaded(SHOW_HELP)
    assert {"click", "search"} <= found
    assert not found & {*HEAVY, "space"}


def test_what_keeps_and_shows_results_does_not_load_torch() -> None:
    modules = modules_in("show"), modules_in("studies")
    assert all(modules)
    assert not loaded(LOAD, *modules[0], *modules[1]) & TENSORS


def test_looking_for_what_can_be_mended_loads_no_pytorch() -> None:
    assert "torch" not in loaded(LOAD, "search.runs.mending", "search.show.mends")


def test_the_search_space_does_not_load_torch() -> None:
    found = loaded(LOAD, "space", "search.studies.space")
    assert "optuna" in found
    assert not found & {*TENSORS, "sqlalchemy", "pydantic", "rich"}


def test_records_are_read_without_a_study_and_without_a_network() -> None:
    found = loaded(LOAD, *modules_in("proof"))
    assert found & HEAVY == {"pydantic"}


def test_the_tables_load_nothing_before_something_is_chosen() -> None:
    found = loaded(LOAD, "search.net.datasets", "search.studies.choices", "search.settings", "search.provenance")
    assert not found & HEAVY
