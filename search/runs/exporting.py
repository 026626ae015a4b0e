"""Takes a proved model away: as a file that other programs use, with its card; and lets it read pictures."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import optuna
import torch

from ..config import IMAGE_SIZE, ExplainedError
from ..files import write_atomically
from ..net.classifier import Classifier
from ..net.crops import ALL_CROPS, CENTRE, Crops
from ..net.datasets import DataSet, Pixels, dataset_row
from ..net.model import TinyCNN
from ..net.model_file import load_model
from ..net.pictures import PictureError, read_picture
from ..proof.estimates import accuracy
from ..proof.parts import RecordError
from ..proof.summaries import StudySummary
from ..settings import SUMMARY, ExportSettings
from ..show.card import Exported, model_card
from ..show.prediction import Prediction
from ..studies.finding import find_search_study
from ..studies.storage import open_storage
from .models import check_proved_model, kept_model, read_model_origin
from .reproducing import read_proof

VIEWS = {"all": ALL_CROPS, "1": CENTRE}
REPEATS = 30  # of a measured look at one image; the median counts


@dataclass(frozen=True, kw_only=True)
class KeptNetwork:
    """A network that was kept, ready to classify.

    Attributes:
        origin: What says where it comes from: a proof, or its own file.
    """

    model: TinyCNN
    dataset: DataSet
    pixels: Pixels
    origin: str

    def look(self, images: torch.Tensor, crops: Crops) -> torch.Tensor:
        """Probabilities. Args: images: uint8, n x 1 x 28 x 28, known to be light on dark."""
        with torch.inference_mode():
            probabilities: torch.Tensor = self.classifier(crops, check=False)(images)
            return probabilities

    def classifier(self, crops: Crops, *, check: bool = True) -> Classifier:
        """As a module, in evaluation mode."""
        return Classifier(self.model, self.pixels, crops, check=check).eval()


def crops_of(views: str) -> Crops:
    """Raises ExplainedError if there are no such views."""
    if views not in VIEWS:
        raise ExplainedError(f"Views are 'all' or '1', not {views!r}.")
    return VIEWS[views]


def run_export(settings: ExportSettings) -> tuple[Path, ...]:
    """Writes the model of a proof in the format that is asked for, and its card; returns the files.

    Raises:
        ExplainedError: If there is no proof, or it has kept no model.
    """
    recorded = read_proof(settings.place)
    proof, source = recorded.proof, recorded.model_path
    if source is None or proof.model is None:
        raise RecordError(
            f"{settings.place} holds a proof without a model: its first seed diverged, or the file was lost before the "
            f"record was written. Fresh seeds leave another: verify-best with a --first-seed."
        )
    check_proved_model(source, proof)
    network = load_network(source)
    one_view = settings.format == "onnx" and settings.views == "1"
    name = f"{proof.study_name}-trial-{proof.trial}{'-1-view' if one_view else ''}"
    path = settings.output or source.with_name(f"{name}.{settings.format}")
    if path.suffix != f".{settings.format}":
        raise ExplainedError(f"{path} does not end in .{settings.format}: name it so, or choose another --format.")
    if path.resolve() == source.resolve():
        raise ExplainedError(f"{path} is there already: it is the proved model. Name another file with --output.")
    if settings.format == "onnx":
        from ..net.onnx_file import save_onnx  # loads the exporter

        errors, views = (proof.model.errors_one_view, "one view") if one_view else (proof.model.errors, proof.views)
        reached = f"{accuracy(errors, proof.num_images):.15g} % on the test images of {proof.dataset}"
        origin = f"{proof.num_params:,} parameters, {reached}; {views}"
        save_onnx(path, network.model, network.pixels, crops_of(settings.views), origin)
    else:
        write_atomically(path, source.read_bytes())
    card = path.with_name(f"{path.name}.md")  # the proved model has one of its own
    one_view_ms, all_views_ms = measure_latency(network)
    exported = Exported(
        file=path.name,
        views=(settings.views if settings.format == "onnx" else None),
        size=path.stat().st_size,
        one_view_ms=one_view_ms,
        all_views_ms=all_views_ms,
    )
    write_atomically(card, model_card(proof, exported))
    return (path, card)


def load_network(path: Path) -> KeptNetwork:
    """The network in a model's file. Raises RecordError if it is missing or damaged."""
    if path.suffix == ".onnx":
        raise RecordError(f"{path} is for other programs. This one reads what 'export --format safetensors' writes.")
    try:
        origin = read_model_origin(path)
        model = load_model(path)
    except FileNotFoundError:
        raise RecordError(f"{path} is missing. Name the file of a model, or search and prove one.") from None
    except ValueError as error:
        raise RecordError(f"{error} Restore it.") from error
    reached = origin.test_accuracy if origin.test_accuracy is not None else origin.val_accuracy
    where = "test" if origin.test_accuracy is not None else "validation"
    words = f"{origin.num_params:,} parameters, {reached} % on the {where} images of {origin.dataset}"
    dataset = dataset_row(origin.dataset)
    pixels = Pixels(**dict(origin.pixels)) if origin.pixels is not None else dataset.pixels
    return KeptNetwork(model=model, dataset=dataset, pixels=pixels, origin=words)


def measure_latency(network: KeptNetwork) -> tuple[float, float]:
    """For one image, on one thread of this CPU, in milliseconds: by one view, and by all."""
    image = torch.zeros(1, 1, IMAGE_SIZE, IMAGE_SIZE, dtype=torch.uint8)
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _median_ms(network, image, CENTRE), _median_ms(network, image, ALL_CROPS)
    finally:
        torch.set_num_threads(num_threads)


def _median_ms(network: KeptNetwork, image: torch.Tensor, crops: Crops) -> float:
    found = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        network.look(image, crops)
        found.append(1_000 * (time.perf_counter() - start))
    return statistics.median(found)


def predict_pictures(model_path: Path, images: Sequence[Path], views: str) -> tuple[Prediction, ...]:
    """What a network takes pictures for; one that cannot be read is told, and does not stop the others.

    Raises:
        RecordError: If there is no model.
    """
    network = load_network(model_path)
    crops = crops_of(views)
    return tuple(_predict(network, path, crops) for path in images)


def _predict(network: KeptNetwork, path: Path, crops: Crops) -> Prediction:
    try:
        seen = read_picture(path, centred=network.dataset.centred)
    except PictureError as error:
        return Prediction(file=str(path), complaint=str(error))
    probabilities = network.look(torch.from_numpy(seen)[None, None], crops)[0].tolist()
    return Prediction(
        file=str(path),
        probabilities=tuple(probabilities),
        pixels=seen.tobytes(),
        classes=network.dataset.classes,
    )


def proved_model(place: Path) -> Path:
    """The model of a proof, or, before there is one, the search's winner's.

    Raises:
        RecordError: If there is neither, or the proof is damaged.
    """
    proof = read_proof(place).proof if (place / "verify.json").exists() else None
    found = kept_model(place, proof)
    if found is None and proof is not None and proof.model is not None:
        name = Path(proof.model.file).name
        raise RecordError(f"{place / name} is missing. Restore it, or prove again with a fresh --first-seed.")
    if found is None:
        raise RecordError(f"{place} holds no model of a winner. Finish the search, or name the file of a model.")
    return found


def newer_winner(place: Path) -> str | None:
    """What is to be known of a study's proof whose trial no longer leads; None where all is well."""
    record = place / "verify.json" if place.is_dir() else place
    summary = record.with_name(SUMMARY)
    if record.name != "verify.json" or not record.exists() or not summary.exists():
        return None  # another one was named, or nothing else is known
    try:
        proof, winner = read_proof(record).proof, StudySummary.read(summary).winner
    except RecordError:
        return None  # whoever needs it will tell
    if winner is None or winner.number == proof.trial:
        return None
    return f"Trial {winner.number} has won since. This is trial {proof.trial}, of the proof that is here."


def results_of(storage: str, study_name: str | None, results_dir: Path) -> Path:
    """The folder of a search's results; without a name, of the last active one. Raises ExplainedError without one."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return results_dir / find_search_study(open_storage(storage), study_name).name
