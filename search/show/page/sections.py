"""What the page says, in order: sections of words, figures, tables and pictures. An empty section is left out."""

import base64

from ...config import TrialConfig
from ...proof.parts import describe_environment
from .. import frontier as frontier_words
from .. import ladder as ladder_words
from .. import proof as proof_words
from ..study import describe_leader, describe_work
from ..words import describe_seeds, format_network, format_seconds, plural
from . import proof_figures, search_figures
from .blocks import Block, Canvas, Commands, Picture, Pictures, Section, Table
from .facts import FEWEST_FOR_IMPORTANCE, Digit, PageFacts
from .headline import to_search
from .layers import layers_of
from .pictures import SHOWN_IMAGES, to_png
from .tables import (
    calibration_table,
    confusion_table,
    drawn_trials,
    parameters_table,
    reranking_table,
    trials_table,
    workers_table,
)
from .timeline import draw_timeline

FEW = 50  # complete trials below which an importance says little


def sections(facts: PageFacts) -> list[Section]:
    """All that have something to say."""
    made = (
        _verdict(facts),
        _frontier(facts),
        _winner(facts),
        _search(facts),
        _parameters(facts),
        _earned(facts),
        _ladder(facts),
        _images(facts),
        _answers(facts),
        _try(facts),
        _work(facts),
        _provenance(facts),
    )
    return [section for section in made if section is not None]


def _verdict(facts: PageFacts) -> Section | None:
    proof = facts.proof
    if proof is None:
        return None
    rows = tuple(
        (str(row.seed), f"{row.test_accuracy:.2f}", str(row.errors), str(row.errors_one_view)) for row in proof.seeds
    )
    headings = ("Seed", "Test accuracy (%)", "Errors", "By one view")
    table = Table(caption=f"All {plural(len(rows), 'seed')}", headings=headings, rows=rows, folded=True)
    return Section(
        id="evidence",
        title="What the verdict rests on",
        words=tuple(proof_words.evidence(proof)),
        blocks=(proof_figures.draw_seeds(proof), table),
    )


def _frontier(facts: PageFacts) -> Section | None:
    frontier = facts.frontier
    if frontier is None or not any(point.errors for point in frontier.points):
        return None
    headings, *rows = frontier_words.rows(frontier)
    own = next((place for place, each in enumerate(frontier.points) if _is_own(each.study_name, facts)), None)
    return Section(
        id="frontier",
        title="Accuracy against parameters",
        words=(frontier_words.claim(frontier), *frontier_words.notes(frontier)),
        blocks=(
            proof_figures.draw_frontier(frontier),
            Table(caption="Every budget", headings=headings, rows=tuple(rows), marked=own),
        ),
    )


def _is_own(study_name: str | None, facts: PageFacts) -> bool:
    return study_name == facts.summary.study_name


def _winner(facts: PageFacts) -> Section | None:
    if facts.config is None:
        return None
    layers = layers_of(facts.config.model, facts.side)
    rows = tuple(
        (
            str(layer.stage),
            ", ".join([layer.name, *layer.extras]),
            f"{layer.channels} x {layer.side} x {layer.side}",
            f"{layer.num_params:,}",
            f"{layer.multiply_adds:,}",
        )
        for layer in layers
    )
    total = (
        "",
        "all layers",
        "",
        f"{sum(layer.num_params for layer in layers):,}",
        f"{sum(layer.multiply_adds for layer in layers):,}",
    )
    shown = facts.summary.winner or facts.summary.best
    whose = f"Trial {shown.number}" if shown is not None else "The network"
    is_winner = facts.summary.winner is not None and not to_search(facts)
    return Section(
        id="network",
        title="The winner, layer by layer" if is_winner else "The best network so far, layer by layer",
        words=(
            f"{whose}: {format_network(facts.config.model)}. It sees {facts.side} x {facts.side} pixels of an image. "
            f"{_training(facts.config)}",
        ),
        blocks=(
            proof_figures.draw_network(layers),
            Table(
                caption="Shapes, parameters and multiply-adds for one view of an image",
                headings=("Stage", "Layer", "Gives", "Parameters", "Multiply-adds"),
                rows=(*rows, total),
                marked=len(rows),
            ),
        ),
    )


def _training(config: TrialConfig) -> str:
    return (
        f"Trained with a peak rate of {config.lr:.3g}, weight decay {config.weight_decay:.3g}, dropout "
        f"{config.model.dropout:g} and batches of {config.batch_size}."
    )


def _search(facts: PageFacts) -> Section | None:
    if not any(trial.curve for trial in facts.trials):
        return None
    winner = facts.summary.winner.number if facts.summary.winner is not None else None
    words = describe_work(facts.summary, facts.num_planned)
    reranking = facts.summary.reranking
    if reranking is None or not reranking.standings:  # else "What the search earned" says it
        words += describe_leader(facts.summary)
    drawn = drawn_trials(facts)
    words += _left_out(facts)
    length = search_figures.mean_length(facts.trials)
    if length is not None:
        words.append(f"Pruned trials ended after {length:.1f} of {facts.summary.settings.epochs} epochs on average.")
    blocks = [search_figures.draw_curves(drawn, winner), search_figures.draw_history(drawn, winner)]
    return Section(id="search", title="The search", words=tuple(words), blocks=(*blocks, trials_table(drawn, winner)))


def _left_out(facts: PageFacts) -> list[str]:
    num_drawn, num_trials = len(drawn_trials(facts)), len(facts.trials)
    if num_drawn == num_trials:
        return []
    return [f"Shown are {num_drawn:,} of {num_trials:,} trials: those that lead or once led, and the latest."]


def _parameters(facts: PageFacts) -> Section | None:
    complete = [trial for trial in facts.trials if trial.state == "complete"]
    if len(complete) < 2:
        return None
    winner = facts.summary.winner.number if facts.summary.winner is not None else None
    blocks: list[Block] = []
    words = []
    if facts.importance:
        caution = " That is few: read it as a hint." if len(complete) < FEW else ""
        words.append(f"Importance is estimated from {plural(len(complete), 'complete trial')}.{caution}")
        shares = sorted(facts.importance.items(), key=lambda item: -item[1])
        rows = tuple((name, f"{share:.1%}") for name, share in shares)
        table = Table(caption="Importance", headings=("Parameter", "Share"), rows=rows, folded=True)
        blocks += [search_figures.draw_importance(facts.importance), table]
    elif len(complete) < FEWEST_FOR_IMPORTANCE:
        words.append(
            f"{plural(len(complete), 'complete trial')} are too few to tell which parameters matter: that takes "
            f"{FEWEST_FOR_IMPORTANCE}."
        )
    else:
        words.append("No parameter tells good trials from others.")
    words += _left_out(facts)
    drawn = [trial for trial in drawn_trials(facts) if trial.state == "complete"]
    blocks += [
        search_figures.draw_parallel(drawn, winner),
        search_figures.draw_sizes(drawn, winner),
        parameters_table(drawn, winner),
    ]
    return Section(id="parameters", title="What matters", words=tuple(words), blocks=tuple(blocks))


def _earned(facts: PageFacts) -> Section | None:
    reranking = facts.summary.reranking
    if reranking is None or not reranking.standings:
        return None
    words = describe_leader(facts.summary)
    earned = reranking.earned
    if earned is not None and earned.margin is not None and reranking.winner != earned.first:
        if earned.mean > earned.margin:
            words.append("So the search has found what its first trial did not have.")
        elif earned.mean >= -earned.margin:
            words.append("So these runs do not show that the search has found anything better than its first trial.")
    return Section(
        id="earned",
        title="What the search earned",
        words=tuple(words),
        blocks=(search_figures.draw_reranking(reranking), reranking_table(reranking)),
    )


def _ladder(facts: PageFacts) -> Section | None:
    ladder = facts.ladder
    if ladder is None:
        return None
    headings, *rows = ladder_words.rows(ladder)
    return Section(
        id="ladder",
        title="What each method earned",
        words=tuple(ladder_words.notes(ladder)),
        blocks=(
            proof_figures.draw_ladder(ladder),
            Table(caption="The rungs", headings=headings, rows=tuple(rows)),
        ),
    )


def _images(facts: PageFacts) -> Section | None:
    if not facts.images or facts.config is None:
        return None
    augment = facts.config.augment
    rows = tuple(
        Pictures(
            caption=f"{facts.classes[original.label]}: as it is, and as it may be trained on",
            pictures=(
                _picture(original, facts, "as it is"),
                *(_picture(image, facts, "distorted") for image in distorted),
            ),
        )
        for original, distorted in facts.images
    )
    return Section(
        id="augmentation",
        title="What it was trained on",
        words=(
            f"Each time it is seen, an image is rotated by up to {augment.rotation:.3g} degrees, shifted by up to "
            f"{augment.shift:.3g} pixels, and scaled and sheared by up to {augment.scale:.3g} and {augment.shear:.3g}. "
            f"In the last third of the epochs that fades to {facts.config.final_augment:.0%} of it.",
        ),
        blocks=rows,
    )


def _picture(image: Digit, facts: PageFacts, caption: str) -> Picture:
    name = facts.classes[image.label]
    return Picture(source=_data_url(to_png(image.pixels)), alternative=f"{name}, {caption}", caption="")


def _data_url(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _answers(facts: PageFacts) -> Section | None:
    answers = facts.answers
    if answers is None or not answers.seeds:
        return None
    hardest = answers.hardest(SHOWN_IMAGES)
    n = len(answers.seeds)
    blocks: list[Block] = [
        proof_figures.draw_confusion(answers, facts.classes),
        proof_figures.draw_calibration(answers),
        confusion_table(answers, facts.classes),
        calibration_table(answers),
    ]
    if facts.hardest is not None and hardest:
        source = _data_url(facts.hardest)
        pictures = tuple(
            Picture(
                source=source,
                offset=place,
                alternative=f"test image {miss.place}: {facts.classes[miss.label]}",
                caption=(
                    f"{facts.classes[miss.label]}: {miss.num_missed} of {n} miss it, mostly as "
                    f"{facts.classes[miss.answer]} ({miss.probability:.0%}; {facts.classes[miss.label]}: "
                    f"{miss.of_label:.0%})"
                ),
            )
            for place, miss in enumerate(hardest)
        )
        blocks.insert(0, Pictures(caption="The images that most networks miss", pictures=pictures))
    elif hardest:
        rows = tuple(
            (
                str(each.place),
                facts.classes[each.label],
                facts.classes[each.answer],
                f"{each.probability:.0%}",
                f"{each.of_label:.0%}",
                f"{each.num_missed} of {n}",
            )
            for each in hardest
        )
        headings = ("Test image", "Label", "Mostly taken for", "How surely", "The label's share", "Missed by")
        blocks.append(Table(caption="The images that most networks miss", headings=headings, rows=rows, folded=True))
    words = f"The answers of {plural(n, 'network')}, {describe_seeds(row.seed for row in answers.seeds)}."
    return Section(id="answers", title="What it gets wrong", words=(words,), blocks=tuple(blocks))


def _try(facts: PageFacts) -> Section | None:
    program = facts.program
    if program is None:
        return None
    return Section(
        id="try",
        title="Try it",
        words=(
            f"{program.whose}, runs in this page, with all {len(program.crops)} views. Draw a digit with a mouse, pen "
            "or finger. It was made for digits like MNIST's, and was measured on nothing else.",
        ),
        blocks=(Canvas(),),
    )


def _work(facts: PageFacts) -> Section | None:
    if not any(trial.start is not None and trial.end is not None for trial in facts.trials):
        return None
    return Section(
        id="work",
        title="Who trained when",
        words=(f"For {format_seconds(facts.summary.seconds)} in all, a trial was running.", *_left_out(facts)),
        blocks=(draw_timeline(facts.trials, drawn_trials(facts)), workers_table(facts.trials)),
    )


def _provenance(facts: PageFacts) -> Section:
    settings = facts.summary.settings
    versions = ", ".join(f"{name} {version}" for name, version in (settings.versions or {}).items())
    words = [
        f"Study {facts.summary.study_name} in {facts.summary.storage}: data set {facts.summary.dataset}, at most "
        f"{settings.max_params:,} parameters and {settings.epochs} epochs, sampler {settings.sampler}, pruner "
        f"{settings.pruner}, seed {settings.seed}, search space {settings.space}, recipe {settings.recipe}.",
        f"Searched with {versions or 'unknown versions'}, commit {settings.commit}.",
    ]
    if facts.proof is not None:
        words.append(f"Proved on {describe_environment(facts.proof.environment)}.")
    return Section(
        id="provenance", title="How to repeat it", words=tuple(words), blocks=(Commands(lines=facts.commands),)
    )
