"""`predict`: what a model takes pictures for."""

from pathlib import Path

import click

from ..config import printable
from .export import VIEWS
from .options import json_option, refuse_beside, results_option, storage_option, study_name_option
from .output import show


@click.command()
@click.argument("images", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option(
    "--model",
    type=click.Path(path_type=Path),
    help="A model's file. Default: the study's proved one, or before there is one the winner's.",
)
@click.option("--views", type=click.Choice(VIEWS), default="all", help="By how many views of each picture.")
@click.option("--show", "with_pixels", is_flag=True, help="Show the pictures as the network sees them.")
@study_name_option
@results_option
@storage_option
@json_option
def predict(
    images: tuple[Path, ...],
    model: Path | None,
    views: str,
    with_pixels: bool,
    study_name: str | None,
    results_dir: Path,
    storage: str,
    as_json: bool,
) -> None:
    """Tells what pictures show.

    Each picture holds one thing, of any size and colour, dark on light or light on dark. It is cut out, scaled and
    centred like the images that the model was trained on. The model was measured on nothing else.

    \b
    Example:
      python cli.py predict seven.png scan.jpg --show
    """
    from ..runs.exporting import newer_winner, predict_pictures, proved_model, results_of
    from ..runs.models import WINNER_MODEL
    from ..show.prediction import prediction_table, to_json

    if model is not None:
        refuse_beside("--model", "study_name", "results_dir", "storage")
    if as_json:
        refuse_beside("--json", "with_pixels")
    path = model
    if path is None:
        folder = results_of(storage, study_name, results_dir)
        path = proved_model(folder)
        if path.name == WINNER_MODEL:
            proved = (folder / "verify.json").exists()
            why = "The proof has kept no model" if proved else "Not proved yet"
            click.echo(printable(f"{why}: {path} is the winner's model as it was searched."), err=True)
        elif (note := newer_winner(folder)) is not None:
            click.echo(printable(note), err=True)
        else:
            click.echo(printable(f"By {path}."), err=True)
    found = predict_pictures(path, images, views)
    complaints = [each.complaint for each in found if each.complaint is not None]
    if as_json:
        click.echo(to_json(found))
    else:
        show(prediction_table(found, with_pixels=with_pixels))
    for complaint in complaints:
        click.echo(printable(f"Error: {complaint}"), err=True)
    if complaints:
        raise click.exceptions.Exit(1)
