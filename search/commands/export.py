"""`export`: the proved model as a file for other programs."""

from pathlib import Path

import click

from ..config import ExplainedError, printable
from ..settings import ExportSettings
from .options import refuse_beside, results_option, storage_option, study_name_option
from .output import command_line

FORMATS = ("safetensors", "onnx")
VIEWS = ("all", "1")


@click.command()
@click.option(
    "--format",
    "file_format",
    type=click.Choice(FORMATS),
    default="onnx",
    help="onnx: pixels in, probabilities out.",
)
@click.option("--views", type=click.Choice(VIEWS), default="all", help="What an ONNX file looks at.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Default: called after the study and the trial, beside the proof's model.",
)
@click.option(
    "--from",
    "place",
    type=click.Path(path_type=Path),
    help="A folder with a proof, or its record. Default: the study's results.",
)
@study_name_option
@results_option
@storage_option
def export(
    file_format: str,
    views: str,
    output: Path | None,
    place: Path | None,
    study_name: str | None,
    results_dir: Path,
    storage: str,
) -> None:
    """Writes a proved model for other programs, with its card.

    It is the model of the first seed of the latest proof, whatever that reached. An ONNX file stands by itself: it
    takes pixels from 0 to 255, light on dark, and gives the probability of each class, with all views inside or one.

    \b
    Example:
      python cli.py export --format onnx
      python cli.py export --from results/reference --views 1 --output tiny.onnx
    """
    from ..runs.exporting import newer_winner, results_of, run_export

    if place is not None:
        refuse_beside("--from", "study_name", "results_dir", "storage")
    if file_format != "onnx":
        refuse_beside(f"--format {file_format}", "views")
    found = place if place is not None else results_of(storage, study_name, results_dir)
    if place is None and not (found / "verify.json").exists():
        proof = command_line("verify-best", "--study-name", found.name, repeated=("storage", "results_dir"))
        raise ExplainedError(f"There is no proof of {found.name!r} yet, and so no proved model. First: {proof}")
    settings = ExportSettings(place=found, format=file_format, views=views, output=output)
    if (note := newer_winner(found)) is not None:
        click.echo(printable(note), err=True)
    for path in run_export(settings):
        click.echo(printable(f"Written: {path}"))
