"""The commands that follow a search, from their options to their records: proof, reproduction, ablation."""

import json
from pathlib import Path
from typing import Any

from search import ablate, attempts, ladder, reproduce, verdict, verify
from search.card import model_card
from search.data import load_final_splits
from search.files import write_atomically
from search.objective import rebuild_config
from search.options import AblateOptions, Ended, ReproduceOptions, Space, VerifyOptions, View
from search.provenance import code_commit, space_hash
from search.reproduce import RecordError
from search.runner import run_job, set_up
from search.study import find_search_study, record_use


def run_verification(options: VerifyOptions, space: Space, view: View) -> Ended:
    """Trains the trial anew with each seed, and judges it. Raises as `run_search` does."""
    devices, precision, storage = set_up(options, create=False)
    study = find_search_study(storage, options.study_name)
    choice = verify.choose_trial(study, storage, options.trial)
    trial = choice.trial
    config = rebuild_config(study, trial, space.suggest_config, space_hash(space.path))
    load_final_splits(study.user_attrs["dataset"], options.data_dir)  # a missing file is told before anything starts
    verification = verify.open_verify_study(storage, study, choice, config)
    folder = options.results_dir / study.study_name
    previous = _previous_record(folder / "verify.json")
    earlier = attempts.earlier_attempts(verification.user_attrs["config"], options.first_seed, previous)
    seeds = attempts.plan_attempt(verification, storage, options.first_seed, options.seeds)
    view.say(f"Verifying trial {trial.number} of {study.study_name}, {choice.rule}.")
    if len(seeds) > options.seeds:
        view.warn(f"This attempt has measured more: its first {len(seeds)} seeds count, not {options.seeds}.")
    if reused := attempts.reused_seeds(seeds, earlier):
        view.warn(f"An earlier attempt has used {len(reused)} of these seeds. For fresh ones: --first-seed.")
    model_path = folder / f"verify-{trial.number}-seed-{options.first_seed}.safetensors"
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
    facts = verdict.make_record(
        verification,
        verify.measured_seeds(verification, seeds),
        target=options.target,
        attempts=attempts.count_attempts(storage, study.study_name, earlier),
        earlier_attempts=earlier,
    )
    facts["model"] = {"file": model_path.name, "seed": options.first_seed} if model_path.exists() else None
    write_atomically(folder / "verify.json", json.dumps(facts, indent=2) + "\n")
    write_atomically(folder / "verify.md", verdict.to_markdown(facts))
    if facts["model"] is not None:
        write_atomically(model_path.with_suffix(".md"), model_card(facts))
    return Ended(facts=facts, interrupted=False)


def _previous_record(path: Path) -> dict[str, Any] | None:
    """The record that is about to be replaced; None without one.

    Raises:
        RecordError: If it cannot be read: replacing it would forget the attempts that it counts.
    """
    try:
        facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise RecordError(f"{path} is damaged ({error}). Restore it, or move it away.") from error
    return facts


def run_ablation(options: AblateOptions, space: Space, view: View) -> Ended:
    """Takes the winner's recipe apart, over seeds. Raises as `run_search` does."""
    devices, precision, storage = set_up(options, create=False)
    study = find_search_study(storage, options.study_name)
    choice = verify.choose_trial(study, storage, options.trial)
    config = rebuild_config(study, choice.trial, space.suggest_config, space_hash(space.path))
    load_final_splits(study.user_attrs["dataset"], options.data_dir)  # a missing file is told before anything starts
    ablation = ablate.open_ablation_study(storage, study, choice.trial, config)
    view.say(f"Taking trial {choice.trial.number} of {study.study_name} apart ({choice.rule}).")
    job = ablate.AblationJob(
        storage_url=options.storage,
        study_name=ablation.study_name,
        tickets=ablate.tickets_of(options.seeds),
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
    facts = ablate.make_record(ablation, options.seeds)
    folder = options.results_dir / study.study_name
    write_atomically(folder / "ablation.json", json.dumps(facts, indent=2) + "\n")
    write_atomically(folder / "ablation.md", ladder.to_markdown(facts))
    write_atomically(folder / "ablation.png", ladder.plot(facts))
    return Ended(facts=facts, interrupted=False)


def run_reproduction(options: ReproduceOptions, space: Space, view: View) -> Ended:
    """Trains a recorded winner anew, and compares. Raises as `run_search` does."""
    record = reproduce.read_record(options.folder, space_hash(space.path))
    devices, precision, storage = set_up(options, create=True)
    facts = record.facts
    _, test = load_final_splits(facts["dataset"], options.data_dir)
    model_errors = reproduce.count_errors(record, test)
    study = reproduce.open_reproduction_study(storage, record)
    first_seed = facts["seeds"][0]["seed"] if options.first_seed is None else options.first_seed
    seeds = range(first_seed, first_seed + options.seeds)
    view.say(f"Repeating trial {facts['trial']} of {facts['study_name']}, from {options.folder}.")
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
    compared = reproduce.compare(record, verify.measured_seeds(study, seeds), model_errors)
    path = options.results_dir / study.study_name / "reproduce.json"
    write_atomically(path, json.dumps(compared, indent=2) + "\n")
    return Ended(facts=compared, interrupted=False)
