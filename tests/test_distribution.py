"""The package outside a checkout: built, unpacked elsewhere, and used from there."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from commands import ROOT

pytestmark = pytest.mark.slow
SEARCH = ["search", "--dataset", "sample", "--trials", "2", "--epochs", "1", "--max-params", "800", "--workers", "1"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds what an installation has."""
    source, wheels, place = (tmp_path_factory.mktemp(name) for name in ("source", "wheels", "site-packages"))
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    for name in tracked.decode().split("\0"):
        if name in ("pyproject.toml", "setup.py", "space.py", "README.md", "LICENSE") or name.startswith("search/"):
            target = source / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((ROOT / name).read_bytes())
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--wheel-dir", wheels, source], check=True, capture_output=True)
    [wheel] = wheels.iterdir()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(place)
    return place


def call(installed: Path, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """What the command of an installation does."""
    return python(installed, "-c", "from tiny_mnist_search.commands.main import main; main()", *words, cwd=cwd)


def python(installed: Path, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """What Python does where the package is installed, and no checkout is at hand."""
    environment = {name: value for name, value in os.environ.items() if name != "MNIST_DIR"}
    return subprocess.run(
        [sys.executable, "-P", *words],
        cwd=cwd,
        env={**environment, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_only_the_package_is_installed(installed: Path) -> None:
    assert {path.name for path in installed.iterdir() if path.suffix != ".dist-info"} == {"tiny_mnist_search"}
    [scripts] = installed.glob("*.dist-info/entry_points.txt")
    assert "tiny-mnist-search = tiny_mnist_search.commands.main:main" in scripts.read_text()
    assert (installed / "tiny_mnist_search" / "space.py").read_bytes() == (ROOT / "space.py").read_bytes()


def test_it_searches_proves_and_draws_where_it_is_called(installed: Path, tmp_path: Path) -> None:
    searched = call(installed, *SEARCH, cwd=tmp_path)
    assert searched.returncode == 0, searched.stderr
    assert "tiny-mnist-search verify-best" in searched.stdout
    assert "cli.py" not in searched.stdout + searched.stderr
    proved = call(installed, "verify-best", "--seeds", "2", "--workers", "1", cwd=tmp_path)
    assert proved.returncode == 0, proved.stderr
    folder = tmp_path / "results" / "sample-800p-1e"
    assert {"summary.json", "verify.json", "report.html"} <= {path.name for path in folder.iterdir()}
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "cli.py" not in page
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "data") == ["results", "study.db"]


def test_as_a_library_it_has_a_name_of_its_own_and_takes_a_space_that_a_checkout_wrote(
    installed: Path, tmp_path: Path
) -> None:
    own = tmp_path / "own.py"
    own.write_text((ROOT / "space.py").read_text(encoding="utf-8").replace('"dropout": 0.0', '"dropout": 0.025'))
    (tmp_path / "mine.py").write_text(
        "import sys\n"
        "from tiny_mnist_search.library import SearchSettings, load_winner, run_search\n"
        "if __name__ == '__main__':\n"
        "    settings = SearchSettings(\n"
        "        dataset='sample', trials=1, epochs=1, max_params=800, rerank=0, workers=1\n"
        "    )\n"
        "    summary = run_search(settings, space='own.py', on_trial=lambda _, trial: print(trial.params['dropout']))\n"
        "    print(type(load_winner(summary.study_name)).__module__)\n"
        "    print('search' in sys.modules)\n"
    )
    ran = python(installed, "mine.py", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split() == ["0.025", "tiny_mnist_search.net.classifier", "False"]


def test_its_help_names_itself(installed: Path, tmp_path: Path) -> None:
    helped = call(installed, "verify-best", "--help", cwd=tmp_path)
    assert "tiny-mnist-search verify-best --seeds 5" in helped.stdout
    assert "cli.py" not in helped.stdout + call(installed, "--help", cwd=tmp_path).stdout
