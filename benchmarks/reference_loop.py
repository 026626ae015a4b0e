"""The training loop that a user would write, which ours is measured against: transforms, a DataLoader, fp32."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from search.config import IMAGE_SIZE, NUM_CLASSES, ModelConfig, TrialConfig
from search.net.data import Split


class Digits(Dataset[tuple[Tensor, int]]):
    """As `torchvision.datasets.MNIST`, which wants all four files, does it: an array to a PIL image to a tensor."""

    def __init__(self, split: Split, config: TrialConfig) -> None:
        from torchvision import transforms  # takes a second, and the loop alone needs it

        strengths = config.augment
        shift, shear = strengths.shift / IMAGE_SIZE, torch.rad2deg(torch.atan(torch.tensor(strengths.shear))).item()
        self.images, self.labels = split.images, split.labels
        self.transform = transforms.Compose(
            [
                transforms.RandomAffine(
                    degrees=strengths.rotation,
                    translate=(shift, shift),
                    scale=(1 - strengths.scale, 1 + strengths.scale),
                    shear=shear,
                    interpolation=transforms.InterpolationMode.BILINEAR,
                ),
                transforms.ToTensor(),
                transforms.Normalize((split.pixels.mean,), (split.pixels.std,)),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = Image.fromarray(self.images[index, 0].numpy(), mode=None)
        return self.transform(image), int(self.labels[index])


class Net(nn.Module):
    """The network as textbooks have it: padded convolution, norm, ReLU, and a max-pool at the end of a stage.

    Its weights have the shapes of ours, but for the norm after the first convolution, where ours has a bias.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        fan_in = 1
        stages = config.channels
        for stage, widths in enumerate(stages):
            for position, width in enumerate(widths):
                last = stage == len(stages) - 1 and position == len(widths) - 1
                layers += [nn.Conv2d(fan_in, width, 3, padding=0 if last else 1, bias=False)]
                layers += [nn.BatchNorm2d(width), nn.ReLU()]
                fan_in = width
            if stage < len(stages) - 1:
                layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(fan_in, NUM_CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(images))
        return logits


def train_reference(
    model: nn.Module,
    config: TrialConfig,
    split: Split,
    *,
    epochs: int,
    loader_workers: int,
    device: torch.device,
) -> Iterator[None]:
    """Trains a network; yields after every epoch."""
    loader = DataLoader(
        Digits(split, config),
        batch_size=config.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=loader_workers,
        pin_memory=device.type == "cuda",
    )
    model = model.to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    total_steps = epochs * len(loader)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=config.lr, total_steps=total_steps)
    for _ in range(epochs):
        model.train()
        for images, labels in loader:
            images, labels = images.to(device), labels.to(device)
            optimizer.zero_grad()
            loss = F.cross_entropy(model(images), labels)
            loss.backward()
            optimizer.step()
            schedule.step()
        yield
