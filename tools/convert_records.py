"""Converts the committed records, once, from dicts without a schema version to the records of `search.proof.records`.

python -m tools.convert_records results/reference

Figures are not touched: what is computed anew has to agree with what was recorded, or reading the result fails.
"""

import json
import sys
from pathlib import Path

from pydantic import TypeAdapter
from safetensors import safe_open
from safetensors.torch import save

from search.config import ModelConfig, TrialConfig
from search.files import write_atomically
from search.net.crops import ALL_CROPS, describe_crops
from search.proof.records import Ladder, ModelOrigin, Proof, Reproduction, StudySummary
from search.runs.reporting import BEST_MODEL
from search.show import card, ladder, proof
from search.show.totals import count_trials
from search.studies.storage import open_storage
from search.studies.study import StoredStudy


def convert_proof(folder: Path) -> None:
    path = folder / "verify.json"
    old = json.loads(path.read_text(encoding="utf-8"))
    assert old["num_views"] == len(ALL_CROPS)
    new = Proof.model_validate({"judged": True, "views": describe_crops(ALL_CROPS), **old})
    new.write(path)
    write_atomically(path.with_suffix(".md"), proof.to_markdown(new))
    assert new.model is not None
    write_atomically((folder / new.model.file).with_suffix(".md"), card.model_card(new))


def convert_ladder(folder: Path) -> None:
    path = folder / "ablation.json"
    old = json.loads(path.read_text(encoding="utf-8"))
    seeds = old.pop("seeds")
    assert seeds == list(range(seeds[0], seeds[0] + len(seeds)))
    old |= {"study_name": old.pop("search_study"), "first_seed": seeds[0], "num_seeds": len(seeds)}
    for rung in old["rungs"]:
        rung["by_hand"] = rung.pop("hand_made")
    new = Ladder.model_validate(old)
    new.write(path)
    write_atomically(path.with_suffix(".md"), ladder.to_markdown(new))


def convert_reproduction(folder: Path) -> None:
    path = folder / "reproduce.json"
    Reproduction.model_validate_json(path.read_bytes()).write(path)


def convert_summary(folder: Path) -> None:
    path = folder / "summary.json"
    old = json.loads(path.read_text(encoding="utf-8"))
    search = StoredStudy.load(open_storage(f"sqlite:///{folder / 'study.db'}"), old["study_name"])
    counts = count_trials(search.trials())  # which tell those that were cut off from those that failed
    assert counts.failed + counts.interrupted == old["trials"]["failed"]
    old |= {"trials": counts.model_dump(), "reranking": old.pop("rerank"), "winner_model": None}
    StudySummary.model_validate({"judged": True, "target": 99.4, **old}).write(path)


def convert_model(path: Path, target: Path) -> None:
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is not a dict)
        metadata = file.metadata()
    old = json.loads(metadata["record"])
    origin = ModelOrigin.model_validate({"trial": None, **old})
    config = TypeAdapter(ModelConfig).validate_json(metadata["model"])
    assert origin.config == TypeAdapter(TrialConfig).validate_python(old["config"])
    described = {"model": TypeAdapter(ModelConfig).dump_json(config).decode(), "record": origin.model_dump_json()}
    path.unlink()
    write_atomically(target, save(tensors, metadata=described))


def main() -> None:
    folder = Path(sys.argv[1])
    convert_summary(folder)
    convert_proof(folder)
    convert_ladder(folder)
    convert_reproduction(folder)
    convert_model(folder / "best.safetensors", folder / BEST_MODEL)
    for path in sorted(folder.glob("verify-*.safetensors")):
        convert_model(path, path)


if __name__ == "__main__":
    main()
