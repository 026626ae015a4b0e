"""Small networks whose makers have published what they reach, to be shown beside one's own."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """A network as its maker tells of it: of one seed, and mostly the best of several that the test images have judged.

    Attributes:
        num_params: As exactly as it was told.
        accuracy: On the test images after the last epoch, in percent.
        source: A repository on GitHub.
        note: What else is to be known of it.
    """

    name: str
    num_params: int
    accuracy: float
    source: str
    note: str = ""


# By data set, from small to large: those of up to 10,000 parameters whose code and logs were found and read.
PUBLISHED = {
    "mnist": (
        Published(
            "JoshWarn/Parameter-Efficient-MNIST",
            697,
            99.03,
            "JoshWarn/Parameter-Efficient-MNIST",
            "the best of many runs",
        ),
        Published("Madhur-1/ERA-v1", 5_196, 99.40, "Madhur-1/ERA-v1"),
        Published("firekind/ERA4", 6_174, 99.47, "firekind/ERA4"),
        Published("nagalakshmi-nimmagadda/MNIST-CNN", 6_188, 99.44, "nagalakshmi-nimmagadda/MNIST-CNN"),
        Published("adil22jaleel/ERA_V1", 7_216, 99.45, "adil22jaleel/ERA_V1"),
        Published("Shilpaj1994/ERA", 7_884, 99.44, "Shilpaj1994/ERA"),
        Published("snehanshu-raj/ERA", 7_918, 99.50, "snehanshu-raj/ERA"),
    ),
    "fashion-mnist": tuple(
        Published(name, num_params, accuracy, "AntonioTepsich/Convolutional-KANs", "its size rounded by its makers")
        for name, num_params, accuracy in (
            ("CNN (Small)", 1_540, 87.10),
            ("CNN (Medium)", 3_020, 88.34),
            ("KANC MLP (Small, gs 10)", 5_310, 87.43),
            ("CNN (Medium, more convs)", 6_930, 89.56),
            ("KANC MLP (Small, gs 20)", 8_010, 88.15),
            ("KANC MLP (Medium, gs 10)", 9_940, 88.99),
        )
    ),
}
