"""The commands that follow a search, from their options to their records: proof, reproduction, ablation."""

import json
from pathlib import Path

from search import ablate, attempts, ladder, reproduce, verdict, verify
from search.card import model_card
from search.data import load_final_splits
from search.files import write_atomically
from search.objective import rebuild_config
from search.options import AblateOptions, Ended, ReproduceOptions, Space, VerifyOptions, View
from search.provenance import code_commit, space_hash
from search.reproduce import DAMAGE, PRECISIONS, RecordError, describe_damage
from search.runner import REFERENCE_FOLDER, run_job, set_up
from search.storage import exclusive
from search.study import complete_trials, find_search_study, record_use


def run_verification(options: VerifyOptions, space: Space, view: View) -> Ended:
    """Trains the trial anew with each seed, and judges it. Raises as `run_search` does."""
    devices, precision, storage = set_up(options, create=False)
    study = find_search_study(storage, options.study_name)
    choice = verify.choose_trial(study, storage, options.trial)
    trial = choice.trial
    config = rebuild_config(study, trial, space.suggest_config, space_hash(space.path))
    load_final_splits(study.user_attrs["dataset"], options.data_dir)  # a missing file is told before anything starts
    # A trial that is asked for has a record of its own, so that it does not replace the winner's.
    record_name = "verify.json" if options.trial is None else f"verify-{trial.number}.json"
    record_path = options.results_dir / study.study_name / record_name
    history = _read_histories(options.results_dir, study.user_attrs["dataset"])
    verification = verify.open_verify_study(storage, study, choice, config)
    seeds = attempts.plan_attempt(
        verification, storage, options.first_seed, options.seeds, rule=choice.rule, history=history
    )
    view.say(f"Verifying trial {trial.number} of {study.study_name}, {choice.rule}.")
    if len(seeds) > options.seeds:
        view.warn(f"This attempt has measured more: its first {len(seeds)} seeds count, not {options.seeds}.")
    model_path = record_path.with_name(f"verify-{trial.number}-seed-{seeds.start}.safetensors")
    job = verify.VerifyJob(
        storage_url=options.storage,
        study_name=verification.study_name,
        tickets=seeds,
        config=config,
        epochs=study.user_attrs["epochs"],
        dataset=study.user_attrs["dataset"],
        data_dir=options.data_dir,
        precision=precision,
        model_path=model_path,
        commit=code_commit(),
    )
    if run_job(job, verification, storage, devices, view):
        return Ended(facts=None, interrupted=True)
    record_use(verification)
    with exclusive(storage):  # another command may have written a record meanwhile: its attempt must not be lost
        history = _read_histories(options.results_dir, study.user_attrs["dataset"])
        seeds = attempts.with_all_measured(verification, seeds)
        facts = verdict.make_record(
            verification,
            verify.measured_seeds(verification, seeds),
            target=options.target,
            earlier_attempts=attempts.earlier_attempts(verification, storage, seeds, history),
            other_looks=attempts.other_looks(storage, study.user_attrs["dataset"]),
        )
        facts["model"] = verify.describe_model(model_path, verification, seeds.start)
        write_atomically(record_path, json.dumps(facts, indent=2) + "\n")
        write_atomically(record_path.with_suffix(".md"), verdict.to_markdown(facts))
        if facts["model"] is not None:
            write_atomically(model_path.with_suffix(".md"), model_card(facts))
    return Ended(facts=facts, interrupted=False)


def _read_histories(results_dir: Path, dataset: str) -> list[attempts.Facts]:
    """The attempts on this data set that the records at hand know of; the committed reference's are not this user's.

    Raises:
        RecordError: If one cannot be read: the attempts that it counts would be forgotten.
    """
    rows = []
    for path in sorted(results_dir.glob("*/verify*.json")):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            if record["dataset"] == dataset and path.parent.name != REFERENCE_FOLDER:
                rows += attempts.read_history(record)
        except DAMAGE as error:
            raise RecordError(f"{path} is damaged ({describe_damage(error)}). Restore it, or move it away.") from error
    return rows


def run_ablation(options: AblateOptions, space: Space, view: View) -> Ended:
    """Takes the winner's recipe apart, over seeds. Raises as `run_search` does."""
    devices, precision, storage = set_up(options, create=False)
    study = find_search_study(storage, options.study_name)
    choice = verify.choose_trial(study, storage, options.trial)
    config = rebuild_config(study, choice.trial, space.suggest_config, space_hash(space.path))
    load_final_splits(study.user_attrs["dataset"], options.data_dir)  # a missing file is told before anything starts
    ablation = ablate.open_ablation_study(storage, study, choice.trial, config)
    view.say(f"Taking trial {choice.trial.number} of {study.study_name} apart, {choice.rule}.")
    num_seeds = max(options.seeds, ablate.num_complete_seeds(ablation))
    if num_seeds > options.seeds:
        view.warn(f"{num_seeds} seeds of every rung were measured before: all of them count, not {options.seeds}.")
    job = ablate.AblationJob(
        storage_url=options.storage,
        study_name=ablation.study_name,
        tickets=ablate.tickets_of(num_seeds),
        config=config,
        epochs=study.user_attrs["epochs"],
        dataset=study.user_attrs["dataset"],
        data_dir=options.data_dir,
        precision=precision,
        commit=code_commit(),
    )
    if run_job(job, ablation, storage, devices, view):
        return Ended(facts=None, interrupted=True)
    record_use(ablation)
    facts = ablate.make_record(ablation, num_seeds)
    folder = options.results_dir / study.study_name
    write_atomically(folder / "ablation.json", json.dumps(facts, indent=2) + "\n")
    write_atomically(folder / "ablation.md", ladder.to_markdown(facts))
    write_atomically(folder / "ablation.png", ladder.plot(facts))
    return Ended(facts=facts, interrupted=False)


def run_reproduction(options: ReproduceOptions, space: Space, view: View) -> Ended:
    """Trains a recorded winner anew, and compares. Raises as `run_search` does."""
    record = reproduce.read_record(options.place, space_hash(space.path))
    devices, precision, storage = set_up(options, create=True)
    facts = record.facts
    _, test = load_final_splits(facts["dataset"], options.data_dir)
    if options.precision == "auto" and facts["precision"] in PRECISIONS:
        precision = facts["precision"]
    model_errors = reproduce.count_errors(record, test)
    study = reproduce.open_reproduction_study(storage, record)
    first_seed = facts["seeds"][0]["seed"] if options.first_seed is None else options.first_seed
    seeds = range(first_seed, first_seed + options.seeds)
    view.say(f"Repeating trial {facts['trial']} of {facts['study_name']}, from {options.place}.")
    num_earlier = sum(run.params["seed"] in seeds for run in complete_trials(study))
    job = verify.VerifyJob(
        storage_url=options.storage,
        study_name=study.study_name,
        tickets=seeds,
        config=record.config,
        epochs=facts["epochs"],
        dataset=facts["dataset"],
        data_dir=options.data_dir,
        precision=precision,
        model_path=None,
        commit=code_commit(),
    )
    if run_job(job, study, storage, devices, view):
        return Ended(facts=None, interrupted=True)
    record_use(study)
    compared = reproduce.compare(record, verify.measured_seeds(study, seeds), model_errors, num_earlier)
    path = options.results_dir / study.study_name / "reproduce.json"
    write_atomically(path, json.dumps(compared, indent=2) + "\n")
    return Ended(facts=compared, interrupted=False)
