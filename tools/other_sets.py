"""The part of the pages that tells what came of another data set than MNIST."""

from search.proof.evidence import Proof
from search.proof.summaries import StudySummary
from search.show import proof
from search.show.published import PUBLISHED
from search.show.study import describe_leader
from tools.results import REFERENCE, describe_search

FASHION = REFERENCE.parent / "fashion-mnist"


def fashion() -> str:
    """The study and the proof of Fashion-MNIST, beside published networks of that size."""
    summary, proved = StudySummary.read(FASHION / "summary.json"), Proof.read(FASHION / "verify.json")
    seeds = len(proved.seeds)
    rows = [
        (
            proved.num_params,
            f"**{proved.mean:.2f} %**, minimum {proved.min:.2f} %, of {seeds} fresh seeds",
            f"this tool, mean of {proved.num_views} views",
        ),
        (
            proved.num_params,
            f"{proved.one_view.mean:.2f} %, minimum {proved.one_view.min:.2f} %, of the same {seeds}",
            "this tool, one view",
        ),
        *(
            (
                each.num_params,
                f"{each.accuracy:.2f} %",
                f"{each.name}, [{each.source}](https://github.com/{each.source}); {each.note}",
            )
            for each in PUBLISHED[proved.dataset]
        ),
    ]
    lines = [
        f"{describe_search(summary)}. {' '.join(describe_leader(summary))}",
        "",
        f"**{proof.verdict(proved)}**",
        "",
        *proof.evidence(proved),
        "",
        f"| Parameters | Accuracy on the {proved.num_images:,} test images | |",
        "|---:|---|---|",
        *(f"| {size:,} | {reached} | {whose} |" for size, reached, whose in sorted(rows, key=lambda row: row[0])),
    ]
    return "\n".join(lines) + "\n"
