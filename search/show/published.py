"""Small networks whose makers have published what they reach, to be shown beside one's own."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """A network as its maker tells of it: of one run, unless said otherwise.

    Attributes:
        accuracy: On the test images, in percent.
        source: A repository on GitHub.
        told: What it is, where its size does not say all.
    """

    num_params: int
    accuracy: float
    source: str
    told: str = ""


# By data set, from small to large.
PUBLISHED = {
    "mnist": (
        Published(697, 99.03, "JoshWarn/Parameter-Efficient-MNIST", "the best of many runs"),
        Published(5_196, 99.40, "Madhur-1/ERA-v1"),
        Published(6_174, 99.47, "firekind/ERA4"),
        Published(7_918, 99.50, "snehanshu-raj/ERA"),
    ),
    "fashion-mnist": (
        Published(1_540, 87.10, "AntonioTepsich/Convolutional-KANs", "CNN (Small)"),
        Published(3_020, 88.34, "AntonioTepsich/Convolutional-KANs", "CNN (Medium)"),
        Published(6_930, 89.56, "AntonioTepsich/Convolutional-KANs", "CNN (Medium, but with more convs)"),
        Published(9_940, 88.99, "AntonioTepsich/Convolutional-KANs", "KANC MLP (Medium)"),
    ),
}
