"""What the runs of one command have in common: data, arithmetic, length, and where their models say they come from."""

from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from ..config import TrialConfig
from ..net.datasets import dataset_row
from ..net.device import Runtime, free_memory
from ..proof.summaries import ModelOrigin, SeenPixels
from ..studies.facts import TrialFacts


@dataclass(frozen=True, kw_only=True)
class Training:
    """How the runs of one command are trained.

    Attributes:
        dataset: A name in `search.net.datasets.DATASETS`, or a folder's path.
        precision: "bf16" or "fp32".
        epochs: Of a run that trains to its end.
        own_kernels: Whether our own kernels may compute; PyTorch's repeat what earlier recipes did.
    """

    dataset: str
    data_dir: Path
    precision: str
    epochs: int
    own_kernels: bool = True

    def start(self, device: str) -> Runtime:
        """Prepares this process to train on a device."""
        runtime = Runtime(device=torch.device(device), precision=self.precision, own_kernels=self.own_kernels)
        runtime.prepare()
        return runtime

    def recover(self) -> None:
        """Gives back what a failed run has held."""
        free_memory()

    def origin(
        self,
        config: TrialConfig,
        seed: int,
        facts: TrialFacts,
        *,
        study_name: str,
        trial: int | None = None,
        val_accuracy: float | None = None,
        test_accuracy: float | None = None,
    ) -> str:
        """What a model's file says of itself, as JSON (`search.proof.summaries.ModelOrigin`).

        Args:
            facts: Of the trial that trained it.
        """
        origin = ModelOrigin(
            study_name=study_name,
            trial=trial,
            seed=seed,
            val_accuracy=val_accuracy,
            test_accuracy=test_accuracy,
            num_params=config.model.num_params,
            epochs=self.epochs,
            dataset=self.dataset,
            precision=self.precision,
            commit=facts.commit or "unknown",
            versions=facts.versions,
            pixels=SeenPixels(**asdict(dataset_row(self.dataset).pixels)),
            config=config,
        )
        return origin.model_dump_json()
