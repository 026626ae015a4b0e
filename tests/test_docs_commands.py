"""Every command on the pages is run, in the order of the pages, on a few digits and with small numbers."""

import importlib
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image, ImageDraw
from test_docs import PAGES, code_in
from training import EveryTenth

from cli import cli
from search.net.datasets import DATASETS
from search.net.own import TEST, TRAINING, load_own

pytestmark = pytest.mark.slow
ORDER = ["README.md", "docs/how-to.md", *sorted(set(PAGES) - {"README.md", "docs/how-to.md", "docs/cli.md"})]
# What takes long, and what it becomes; and what commands get besides.
LARGE = {"--trials": "1", "--seeds": "1", "--rerank": "1", "--compare": "1", "--budgets": "800,900"}
BESIDES = {
    "search": ("--trials", "--rerank", "--compare"),
    "frontier": ("--trials", "--seeds", "--budgets"),
    "verify-best": ("--seeds",),
    "ablate": ("--seeds",),
    "reproduce": ("--seeds",),
}
FOLLOWERS = ("verify-best", "ablate", "export", "predict", "report")
STANDS_FOR = {"PICTURE": "seven.png", "NAME": "mnist-7999p-1e", "results/NAME": "results/mnist-7999p-1e", "N": "0"}
ALLOWED = (0, 3)  # 3: not confirmed, after an epoch


def commands() -> list[str]:
    """As they stand on the pages, each once; those that delete come last."""
    found = dict.fromkeys(
        f"{match[1]} {match[2]}".strip()
        for name in ORDER
        for code in code_in(PAGES[name])
        for match in re.finditer(r"python cli\.py ([a-z][a-z-]*)([^#&|]*)", code)
    )
    return sorted(found, key=lambda line: line.startswith("delete"))


def shrunk(line: str) -> list[str]:
    """The same command with small numbers, in this process."""
    words = [STANDS_FOR.get(word, word) for word in shlex.split(line)]
    for committed, own in (("reference", "mnist-7999p-1e"), ("fashion-mnist", "fashion-mnist-7999p-1e")):
        words = [f"results/{own}" if word == f"results/{committed}" else word for word in words]
    words = [re.sub(r"-\d+e\b", "-1e", word) for word in words]
    for option, value in LARGE.items():
        if option in words:
            words[words.index(option) + 1] = value
    if words[0] in ("search", "frontier"):
        if "--epochs" in words:
            place = words.index("--epochs")
            del words[place : place + 2]
        words += ["--epochs", "1"]
    for option in BESIDES.get(words[0], ()):
        if option not in words:
            words += [option, LARGE[option]]
    if words[0] == "export" and "--format" not in words:
        words += ["--format", "onnx"]
    if words[0] in FOLLOWERS and "--study-name" not in words:  # else of the last search that the pages named
        words += ["--study-name", "fashion-mnist-7999p-1e" if "--target" in words else "mnist-7999p-1e"]
    if words[0] == "delete":
        words.append("--yes")
    return [*words, "--workers", "0"] if words[0] in BESIDES else words


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with what the pages speak of, and small data sets under the names that they have."""
    few = replace(DATASETS["mnist"], source=EveryTenth(), held_out=5)
    monkeypatch.setitem(DATASETS, "mnist", few)
    monkeypatch.setitem(DATASETS, "fashion-mnist", replace(few, name="fashion-mnist", target=None))
    monkeypatch.setattr("search.runs.history.COMMITTED", ())
    for name in ("OPTUNA_STORAGE", "MNIST_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    picture = Image.new("L", (60, 60), 255)
    ImageDraw.Draw(picture).line([(15, 15), (45, 15), (30, 50)], width=5)
    for name in ("seven.png", "scan.jpg"):
        picture.save(name)
    Path("narrow.py").write_bytes((Path(__file__).parent.parent / "space.py").read_bytes())
    write_own(Path("path/to/my-images"))
    return tmp_path


def write_own(folder: Path) -> None:
    """By the example of docs/data-sets.md, of pictures of bars, each class at another place."""
    folder.parent.mkdir(parents=True)
    [example] = re.findall(r"^```python\n(.*?)^```", PAGES["docs/data-sets.md"], re.DOTALL | re.MULTILINE)
    for label in range(10):
        Path(f"pictures/{label}").mkdir(parents=True)
        bar = np.full((56, 56), 255, dtype=np.uint8)
        bar[10:40, 10 + 2 * label : 12 + 2 * label] = 0
        for copy in range(20):
            Image.fromarray(bar).save(f"pictures/{label}/{copy}.png")
    for images, labels in (TRAINING, TEST):
        renamed = example.replace(TRAINING[0], images).replace(TRAINING[1], labels)
        exec(renamed.replace('"my-images"', repr(str(folder))), {})
    written, classes = load_own(folder, test=True)
    assert sorted(classes.tolist()) == sorted([*range(10)] * 20)
    assert written[classes == 3][0, 0, 10, 8] > 200  # light on dark, and half as large


def test_every_command_on_the_pages_works(place: Path) -> None:
    asked = [line for line in commands() if line != "reproduce"]  # a name in a sentence
    assert len(asked) > 25
    failed, done = [], set()
    for line in asked:
        words = shrunk(line)
        if tuple(words) in done:
            continue
        done.add(tuple(words))
        result = CliRunner().invoke(cli, words, input="y\n", prog_name="python cli.py")
        if result.exit_code not in ALLOWED:
            failed.append((line, words, result.output[-300:], result.exception))
    assert failed == []
    assert (place / "results" / "mnist-7999p-1e" / "report.html").exists()


def test_every_measurement_on_the_pages_is_one_that_there_is_with_options_that_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("points-2000.json").touch()  # which the pages have made before
    Path("results").symlink_to(Path(__file__).parent.parent / "results")
    found = {
        (match[1], match[2].strip())
        for text in PAGES.values()
        for code in code_in(text)
        for match in re.finditer(r"python -m benchmarks\.([a-z_]+)([^#&|>]*)", code)
    }
    assert len(found) > 10
    for name, options in sorted(found):  # they take hours: their own tests run them, small
        importlib.import_module(f"benchmarks.{name}").main.make_context(name, shlex.split(options))


def test_the_space_that_comes_with_the_tool_is_found_by_the_line_on_the_page() -> None:
    [line] = re.findall(r"`python -c \"(.*?)\"`", PAGES["docs/library.md"])
    told = subprocess.run([sys.executable, "-c", line], capture_output=True, text=True, check=True)
    assert Path(told.stdout.strip()).name == "space.py"
