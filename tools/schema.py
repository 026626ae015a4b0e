"""The records' fields: as a JSON Schema, and as tables for people."""

import json
import re
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from search.proof.answers import Answers
from search.proof.evidence import Proof
from search.proof.frontier import Frontier
from search.proof.ladder import Ladder
from search.proof.ledger import Asked, Look
from search.proof.parts import Record
from search.proof.reproduction import Reproduction
from search.proof.summaries import ModelOrigin, StorageStatus, StudySummary

RECORDS: tuple[type[Record], ...] = (
    StudySummary,
    Proof,
    Answers,
    Ladder,
    Reproduction,
    Frontier,
    StorageStatus,
    ModelOrigin,
)
DESCRIBED: tuple[type[Record | Asked | Look], ...] = (*RECORDS, Asked, Look)

Schema = dict[str, Any]

DEFINITIONS = "#/$defs/"  # what a reference begins with

# What fields mean that many records have, unless a docstring says otherwise.
SHARED = {
    "schema_version": "The version of these tables.",
    "study_name": "The search.",
    "storage": "The database, as a URL without its password.",
    "trial": "The number of the searched trial.",
    "number": "Of the trial.",
    "dataset": "Its name.",
    "judged": "Whether the claim can be judged on this data set.",
    "target": "The test accuracy that every seed has to reach, in percent.",
    "config": "Everything that a run depends on besides its data, its seed and its number of epochs.",
    "recipe": "The version of how this tool builds and trains a configuration.",
    "space": "The hash of the search space.",
    "num_params": "How many parameters the network has.",
    "channels": "The output channels of every convolution, one list per stage.",
    "blocks": "What the convolutions of each stage are: `dense` or `separable`.",
    "residual": "Whether blocks are added to their input.",
    "epochs": "Of a run that trains to its end.",
    "batch_size": "Digits per training step.",
    "max_params": "The largest number of parameters that is allowed.",
    "sampler": "What draws configurations.",
    "pruner": "What ends trials that are not promising.",
    "split": "The hash of the digits, their labels and their order.",
    "seed": "What everything random derives from.",
    "command": "What has measured it.",
    "kind": "What the line is about.",
    "first_seed": "The first of consecutive seeds.",
    "num_seeds": "How many consecutive seeds.",
    "num_passed": "Seeds that reach the target.",
    "num_images": "How many test images there are.",
    "num_views": "How many views of a digit are averaged.",
    "errors": "Test images that are classified wrongly, by all views.",
    "errors_one_view": "The same by the central view alone.",
    "test_accuracy": "On the test images, by all views, in percent.",
    "val_accuracy": "On the validation images, by all views, in percent.",
    "min": "The least of the accuracies.",
    "mean": "Of the accuracies.",
    "std": "The standard deviation of the accuracies (n - 1).",
    "ci95": "The 95 % t-interval of the mean.",
    "confirmed": "Whether every seed reached the target; null where that cannot be judged.",
    "device": "What was computed on.",
    "precision": "Of the arithmetic: `fp32` or `bf16`.",
    "commit": "The version of this tool's code.",
    "versions": "Of Python and of the libraries.",
}
DERIVED = "*Derived.*"
INTRODUCTION = f"""\
{DERIVED} fields follow from the others. They are written, too, and where a record is read they are computed again and
compared: a file that contradicts itself is refused. The same as a JSON Schema:
[records.schema.json](records.schema.json).
"""


class _Untitled(GenerateJsonSchema):
    """Without a title for each field, which only repeats its name."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def record_schema() -> Schema:
    """One JSON Schema with every record among its definitions, each field described as the docstrings do."""
    _, schema = models_json_schema([(record, "serialization") for record in DESCRIBED], schema_generator=_Untitled)
    definitions = schema["$defs"]
    in_attributes = {}
    for name, part in definitions.items():
        part["description"], in_attributes[name] = read_docstring(part["description"])
    for name, part in definitions.items():
        for field_name, field in part["properties"].items():
            referred = [definitions[other]["description"] for other in _parts_in(field)]
            meanings = [
                field.get("description"),
                in_attributes[name].get(field_name),
                *referred,
                SHARED.get(field_name),
            ]
            field["description"] = next((meaning for meaning in meanings if meaning), "")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "The records of tiny-mnist-search",
        "anyOf": [{"$ref": f"{DEFINITIONS}{record.__name__}"} for record in DESCRIBED],
        **schema,
    }


def _parts_in(field: Schema) -> list[str]:
    """The names of the parts that a field refers to."""
    if "$ref" in field:
        return [field["$ref"].removeprefix(DEFINITIONS)]
    inner = [*field.get("anyOf", ()), *([field["items"]] if "items" in field else [])]
    return [name for each in inner for name in _parts_in(each)]


def schema_json() -> str:
    return json.dumps(record_schema(), indent=2, ensure_ascii=False) + "\n"


def read_docstring(text: str) -> tuple[str, dict[str, str]]:
    """The first paragraph, and what the "Attributes:" section (Google style) says of each field."""
    paragraph, _, rest = text.partition("\n\n")
    _, _, section = rest.partition("Attributes:\n")
    described: dict[str, str] = {}
    for entry in re.split(r"\n {4}(?! )", "\n" + section):
        names, colon, meaning = entry.partition(": ")
        if colon:
            described |= dict.fromkeys(names.split(", "), " ".join(meaning.split()))
    return " ".join(paragraph.split()), described


def record_tables() -> str:
    """A section per record, and one per part that they are made of."""
    definitions = record_schema()["$defs"]
    titles = {record.__name__: record.TITLE for record in DESCRIBED}
    sections = [INTRODUCTION, *(_section(f"## {title}", definitions[name]) for name, title in titles.items())]
    sections.append("## Parts\n\nWhat the records are made of, in alphabetical order.\n")
    sections += [_section(f"### {name}", definitions[name]) for name in definitions if name not in titles]
    return "\n".join(sections)


def _section(heading: str, part: Schema) -> str:
    rows = [f"| `{name}` | {_describe_type(field)} | {_meaning(field)} |" for name, field in part["properties"].items()]
    return (
        "\n".join([heading, "", part["description"], "", "| Field | Type | Meaning |", "|---|---|---|", *rows]) + "\n"
    )


def _meaning(field: Schema) -> str:
    return f"{DERIVED} {field['description']}" if field.get("readOnly") else str(field["description"])


def _describe_type(field: Schema, *, plural: bool = False) -> str:
    """In plain words, for example "integer >= 0 or null"."""
    *others, last = [word for choice in field.get("anyOf", [field]) for word in _words(choice, plural=plural)]
    return f"{', '.join(others)} or {last}" if others else last


def _words(field: Schema, *, plural: bool) -> list[str]:
    if "$ref" in field:
        [name] = _parts_in(field)
        return [f"[{name}](#{name.lower()})"]
    if "const" in field:
        return [f"`{field['const']}`"]
    if "enum" in field:
        return [f"`{value}`" for value in field["enum"]]
    s = "s" * plural
    match field["type"]:
        case "array" if "prefixItems" in field:
            return [f"{len(field['prefixItems'])} {_describe_type(field['prefixItems'][0], plural=True)}"]
        case "array":
            return [f"list{s} of {_describe_type(field['items'], plural=True)}"]
        case "object" if field["additionalProperties"] is True:
            return [f"object{s}"]
        case "object":
            return [f"object{s} of {_describe_type(field['additionalProperties'], plural=True)}"]
        case "boolean":
            return ["true", "false"]
        case "string":
            return [f"text{s}"]
        case "number" if (field.get("minimum"), field.get("maximum")) == (0, 100):
            return [f"percentage{s}"]
        case "number" | "integer" as name:
            return [
                f"{name}{s} \N{GREATER-THAN OR EQUAL TO} {field['minimum']}" if "minimum" in field else f"{name}{s}"
            ]
        case name:
            return [name]
