"""A proved model is taken away, and reads pictures."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from commands import assert_refused, run
from evidence import make_proof
from PIL import Image, ImageDraw

from search.config import ExplainedError
from search.library import load_winner
from search.net.crops import ALL_CROPS
from search.net.data import Split, load_final_splits
from search.net.datasets import DATASETS, MNIST_PIXELS
from search.net.device import Runtime, undisturbed
from search.net.model_file import load_model
from search.net.onnx_file import save_onnx
from search.proof.evidence import Proof
from search.proof.summaries import StudySummary
from search.runs.exporting import KeptNetwork, crops_of, load_network, newer_winner, proved_model
from search.settings import COMMITTED
from search.show.prediction import Prediction, draw, to_json

REFERENCE, *_ = COMMITTED
PROOF = Proof.read(REFERENCE / "verify.json")
MODEL = next(REFERENCE.glob("verify-*.safetensors"))
NAME = f"{PROOF.study_name}-trial-{PROOF.trial}"


@pytest.fixture(scope="module")
def network() -> KeptNetwork:
    return load_network(MODEL)


@pytest.fixture
def seven(tmp_path: Path) -> Path:
    picture = Image.new("L", (120, 120), 255)
    ImageDraw.Draw(picture).line([(36, 24), (84, 24), (50, 96)], fill=0, width=9)
    path = tmp_path / "seven.png"
    picture.save(path)
    return path


def probabilities(path: Path, images: torch.Tensor) -> np.ndarray:
    session = onnxruntime.InferenceSession(path)
    [found] = session.run(None, {"pixels": images.float().numpy()})
    return np.asarray(found)


def check_onnx(path: Path, network: KeptNetwork, views: str, digits: Split) -> None:
    """The file answers as PyTorch does, whatever the number of images."""
    for images in (digits.images, digits.images[:1]):
        found = probabilities(path, images)
        expected = network.look(images, crops_of(views)).numpy()
        assert np.abs(found - expected).max() < 1e-5
        assert (found.argmax(axis=1) == expected.argmax(axis=1)).all()


@pytest.mark.slow
def test_the_command_writes_an_onnx_file_with_all_views_and_a_card(
    network: KeptNetwork, few_digits: Split, tmp_path: Path
) -> None:
    path = tmp_path / "all.onnx"
    result = run("export", "--from", REFERENCE, "--output", path)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [f"Written: {path}", f"Written: {path}.md"]
    check_onnx(path, network, "all", few_digits)
    card = Path(f"{path}.md").read_text(encoding="utf-8")
    assert f"{path.stat().st_size:,} bytes. One image on one thread" in card
    assert 'onnxruntime.InferenceSession("all.onnx")' in card


def test_a_model_is_copied_with_its_card(tmp_path: Path) -> None:
    proved = tmp_path / "proved"
    proved.mkdir()
    for path in (REFERENCE / "verify.json", MODEL):
        shutil.copy(path, proved)
    named = tmp_path / "tiny.safetensors"
    for words, path in (([], proved / f"{NAME}.safetensors"), (["--output", named], named)):
        result = run("export", "--from", proved, "--format", "safetensors", *words)
        assert result.exit_code == 0, result.output
        assert path.read_bytes() == MODEL.read_bytes()
        assert f'load_model("{path.name}")' in Path(f"{path}.md").read_text(encoding="utf-8")


def test_a_file_of_one_view_has_its_own_name_answers_as_pytorch_does_and_its_card_says_what_one_view_reaches(
    network: KeptNetwork, few_digits: Split, tmp_path: Path
) -> None:
    for path in (REFERENCE / "verify.json", MODEL):
        shutil.copy(path, tmp_path)
    result = run("export", "--from", tmp_path, "--views", "1")
    assert result.exit_code == 0, result.output
    path = tmp_path / f"{NAME}-1-view.onnx"
    assert result.stdout.splitlines() == [f"Written: {path}", f"Written: {path}.md"]
    check_onnx(path, network, "1", few_digits)
    assert path.stat().st_size < 60_000
    named = {"verify.json", MODEL.name, path.name, f"{path.name}.md"}
    assert {each.name for each in tmp_path.iterdir()} == named  # all is in one file
    card = Path(f"{path}.md").read_text(encoding="utf-8")
    kept = PROOF.model
    assert kept is not None
    reached = 100 - kept.errors_one_view / 100
    assert f", {reached:.15g} % on the test images of mnist; one view" in onnx.load(path).doc_string
    assert f"({kept.errors_one_view} errors of 10,000) by the one view that is inside" in card
    assert "one view is inside" in card
    assert "The claim** below is that of all views" in card


def test_a_network_is_exported_whatever_pytorch_was_told_to_round_to(network: KeptNetwork, tmp_path: Path) -> None:
    with undisturbed():
        Runtime(device=torch.device("cpu"), precision="fp32").prepare()
        save_onnx(tmp_path / "tiny.onnx", network.model, MNIST_PIXELS, crops_of("1"), "a network")
        assert torch.backends.fp32_precision == "ieee"
    assert (tmp_path / "tiny.onnx").exists()


@pytest.mark.full
@pytest.mark.slow
@pytest.mark.parametrize("views", ["1", "all"])
def test_an_onnx_file_answers_as_pytorch_does_on_all_test_digits(
    network: KeptNetwork, mnist_dir: Path, tmp_path: Path, views: str
) -> None:
    _, digits = load_final_splits(DATASETS["mnist"], mnist_dir)
    path = tmp_path / "tiny.onnx"
    save_onnx(path, network.model, MNIST_PIXELS, crops_of(views), "a network")
    answers = probabilities(path, digits.images).argmax(axis=1)
    assert (answers == network.look(digits.images, crops_of(views)).argmax(dim=1).numpy()).all()
    kept = PROOF.model
    assert kept is not None
    expected = kept.errors if views == "all" else kept.errors_one_view
    assert (answers != digits.labels.numpy()).sum() == expected


def test_a_model_that_was_loaded_refuses_pixels_that_cannot_be_right(few_digits: Split) -> None:
    winner = load_winner(REFERENCE.name, REFERENCE.parent)
    assert winner(few_digits.images).shape == (256, 10)
    with pytest.raises(ValueError, match="from 0 to 255, but the brightest is 1"):
        winner(few_digits.images / 255)
    with pytest.raises(ValueError, match="light on dark"):
        winner(255 - few_digits.images)


def test_a_model_is_not_copied_onto_itself_nor_under_a_wrong_name(tmp_path: Path) -> None:
    before = MODEL.read_bytes(), MODEL.with_suffix(".md").read_bytes()
    assert_refused(run("export", "--from", REFERENCE, "--format", "safetensors", "--output", MODEL), 1, "there already")
    assert_refused(run("export", "--from", REFERENCE, "--output", tmp_path / "x.md"), 1, "does not end in .onnx")
    assert (MODEL.read_bytes(), MODEL.with_suffix(".md").read_bytes()) == before


def test_options_that_would_do_nothing_are_refused(seven: Path) -> None:
    for typed, words in (
        (["export", "--format", "safetensors", "--views", "1"], "--views does nothing beside --format safetensors"),
        (["export", "--from", REFERENCE, "--study-name", "x"], "--study-name does nothing beside --from"),
        (["predict", seven, "--model", MODEL, "--storage", "x"], "--storage does nothing beside --model"),
        (["predict", seven, "--model", MODEL, "--show", "--json"], "--show does nothing beside --json"),
        (["status", "--top", "3"], "--top goes with NAME"),
        (["status", "mnist-7999p-15e", "--fix"], "leave NAME out"),
    ):
        assert_refused(run(*typed), 2, words)


def test_what_was_not_proved_is_not_exported(tmp_path: Path) -> None:
    assert_refused(run("export", "--from", tmp_path), 1, "verify.json is missing")
    make_proof([60]).write(tmp_path / "verify.json")
    assert_refused(run("export", "--from", tmp_path), 1, "a proof without a model")


def test_before_a_proof_an_export_says_how_to_get_one_and_a_prediction_what_it_rests_on(
    finished_search: subprocess.CompletedProcess[str], seven: Path
) -> None:
    places = [word for word in finished_search.args if word.startswith("sqlite:///")]
    folder = finished_search.args[finished_search.args.index("--results-dir") + 1]
    where = ["--storage", *places, "--results-dir", folder]
    name = json.loads(finished_search.stdout)["study_name"]
    assert_refused(run("export", *where), 1, f"There is no proof of '{name}' yet", f"verify-best --study-name {name}")
    told = run("predict", seven, *where)
    assert told.exit_code == 0, told.output
    winner = Path(folder) / name / "winner.safetensors"
    assert told.stderr == f"Not proved yet: {winner} is the winner's model as it was searched.\n"


def test_an_onnx_file_is_for_other_programs(seven: Path, tmp_path: Path) -> None:
    path = tmp_path / "tiny.onnx"
    path.touch()
    assert_refused(run("predict", seven, "--model", path), 1, "is for other programs", "export --format safetensors")


def test_a_model_that_is_not_the_proofs_is_not_exported(tmp_path: Path) -> None:
    PROOF.write(tmp_path / "verify.json")
    assert_refused(run("export", "--from", tmp_path), 1, f"{MODEL.name} is missing. Restore it.")


def test_pictures_are_told_and_shown(seven: Path) -> None:
    result = run("predict", seven, "--model", MODEL, "--show")
    assert result.exit_code == 0, result.output
    heading, row, name, *drawn = result.stdout.splitlines()
    assert heading.split() == ["Picture", "Answer", "Sure", "Else"]
    assert row.split()[:2] == [str(seven), "7"]
    assert name == f"{seven}:"
    assert any("@@" in line for line in drawn)


def test_probabilities_of_all_digits_are_told_in_json(seven: Path, network: KeptNetwork) -> None:
    for views in ("all", "1"):
        result = run("predict", seven, "--model", MODEL, "--json", "--views", views)
        [row] = json.loads(result.stdout)["predictions"]
        assert (row["file"], row["answer"]) == (str(seven), "7")
        assert sum(row["probabilities"].values()) == pytest.approx(1, abs=1e-4)
    assert len(crops_of("all")) == len(ALL_CROPS)


def test_a_picture_that_cannot_be_read_does_not_stop_the_others(seven: Path, tmp_path: Path) -> None:
    absent, text = tmp_path / "absent.png", tmp_path / "text.png"
    text.write_text("no picture")
    result = run("predict", absent, seven, text, "--model", MODEL, "--json")
    assert result.exit_code == 1
    rows = json.loads(result.stdout)["predictions"]
    assert [row.get("answer") for row in rows] == [None, "7", None]
    assert rows[0]["error"] == f"{absent} is not there."
    complaints = result.stderr.splitlines()
    assert [line.startswith("Error: ") for line in complaints] == [True, True]


def test_a_model_that_is_missing_or_damaged_is_one_line(seven: Path, tmp_path: Path) -> None:
    assert_refused(run("predict", seven, "--model", tmp_path / "none.safetensors"), 1, "none.safetensors is missing")
    assert_refused(run("predict", seven, "--model", seven), 1, "is not a model saved by this version")


def test_without_a_proof_the_winner_of_the_search_reads(tmp_path: Path) -> None:
    (tmp_path / "winner.safetensors").write_bytes(MODEL.read_bytes())
    assert proved_model(tmp_path) == tmp_path / "winner.safetensors"
    assert proved_model(REFERENCE) == MODEL
    assert load_model(proved_model(tmp_path)).training is False


def test_a_proof_of_a_trial_that_no_longer_leads_is_told(tmp_path: Path) -> None:
    summary = StudySummary.read(REFERENCE / "summary.json")
    assert summary.winner is not None
    PROOF.write(tmp_path / "verify.json")
    assert newer_winner(tmp_path) is None
    for number in (PROOF.trial, PROOF.trial + 1):
        leader = summary.winner.model_copy(update={"number": number})
        summary.model_copy(update={"winner": leader}).write(tmp_path / "summary.json")
        told = newer_winner(tmp_path / "verify.json")
        assert (told is None) == (number == PROOF.trial)
    assert told == f"Trial {number} has won since. This is trial {PROOF.trial}, of the proof that is here."
    PROOF.write(tmp_path / "verify-7.json")
    assert newer_winner(tmp_path / "verify-7.json") is None  # somebody has asked for just that
    (tmp_path / "summary.json").write_text("damaged")
    assert newer_winner(tmp_path) is None


def test_views_that_do_not_exist_are_refused() -> None:
    with pytest.raises(ExplainedError, match="Views are 'all' or '1', not '9'"):
        load_winner("reference", REFERENCE.parent, views="9")


def test_a_digit_is_drawn_in_letters() -> None:
    pixels = bytes([0] * 28 * 27 + [255, 128, 0] + [0] * 25)
    assert draw(pixels).splitlines()[-1] == "@@=="
    assert draw(pixels).count("\n") == 27


def test_the_next_best_answer_is_told() -> None:
    found = Prediction(file="a.png", probabilities=(0.1, 0.6, 0.3, *[0.0] * 7), classes=tuple("0123456789"))
    assert found.ranked[:2] == (("1", 0.6), ("2", 0.3))
    assert json.loads(to_json([found]))["predictions"][0]["probabilities"]["2"] == 0.3
