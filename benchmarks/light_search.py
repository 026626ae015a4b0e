"""A search whose trials only sleep, as a command: a session as `python cli.py search` has it, and light workers.

python -m benchmarks.light_search --storage sqlite:///light.db --trials 100 --workers 8

Other benchmarks start it, once or on several hosts. Only the command itself loads PyTorch, as a session does.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from benchmarks.command import Benchmark
from benchmarks.light_study import LightTask, open_study, shorten_silence
from search.commands.group import EXIT_INTERRUPTED
from search.config import DEFAULT_MAX_PARAMS, MAX_EPOCHS
from search.settings import SearchSettings
from search.studies.choices import SAMPLERS
from search.studies.plan import DrawnPlan
from search.studies.space import load_space


@click.command(cls=Benchmark)
@click.option("--storage", required=True)
@click.option("--trials", type=click.IntRange(min=1), required=True, help="The study's total.")
@click.option("--workers", type=click.IntRange(min=1), required=True)
@click.option("--epochs", type=click.IntRange(1, MAX_EPOCHS), default=MAX_EPOCHS, show_default=True)
@click.option("--epoch-seconds", type=click.FloatRange(min=0), default=0.2, show_default=True)
@click.option("--sampler", type=click.Choice(list(SAMPLERS)), default=SearchSettings.sampler, show_default=True)
@click.option("--silence", type=click.FloatRange(min=4), help="Seconds after which another host counts as dead.")
def main(
    storage: str, trials: int, workers: int, epochs: int, epoch_seconds: float, sampler: str, silence: float | None
) -> None:
    """Searches, with trials that sleep."""
    from search.runs.session import Session  # loads PyTorch, and each worker imports this module
    from search.show.live import LiveScreen

    if silence is not None:
        shorten_silence(silence)
    with TemporaryDirectory() as folder:
        settings = SearchSettings(
            storage=storage,
            results_dir=Path(folder),
            device="cpu",
            precision="fp32",
            workers=workers,
            sampler=sampler,
        )
        session = Session.open(settings, load_space(), LiveScreen(quiet=False), create=True)
        stored = open_study(session.storage, DEFAULT_MAX_PARAMS, epochs)
        plan = DrawnPlan(num_trials=trials, sampler_name=sampler, seed=settings.seed)
        task = LightTask(max_params=DEFAULT_MAX_PARAMS, epochs=epochs, epoch_seconds=epoch_seconds, silence=silence)
        interrupted = session.run(stored, session.job(stored, plan, task, epochs=epochs, pruner=settings.pruner))
        session.storage.engine.dispose()
    if interrupted:
        sys.exit(EXIT_INTERRUPTED)


if __name__ == "__main__":
    main()
