"""The page as one file: no request goes anywhere, and no script in it is anybody else's."""

import base64
import json
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ...config import IMAGE_SIZE, MARGIN
from .facts import PageFacts
from .headline import headline, next_steps
from .sections import sections
from .sketch import Drawing, FigureName
from .svg import to_png

FOLDER = Path(__file__).parent
CROP_SIDE = IMAGE_SIZE - 2 * MARGIN


def render(facts: PageFacts) -> str:
    """The page, as HTML."""
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["is_number"] = _is_number
    return environment.get_template("page.html.j2").render(
        study_name=facts.summary.study_name,
        headline=headline(facts),
        tone=_tone(facts),
        steps=next_steps(facts),
        sections=sections(facts),
        css=Markup(_read("page.css")),
        script=Markup(_script(facts)),
    )


def _script(facts: PageFacts) -> str:
    program = facts.program
    parts = [_read("page.js")]
    if program is not None:
        values = {
            "steps": program.steps,
            "numbers": base64.b64encode(program.numbers).decode(),
            "mean": program.mean,
            "std": program.std,
            "crops": program.crops,
            "cropSide": CROP_SIDE,
        }
        parts.append(f"const PROGRAM = {json.dumps(values)};")
        parts += [_read("network.js"), _read("canvas.js")]
    return "\n".join(parts)


def _read(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def render_figures(facts: PageFacts) -> dict[FigureName, bytes]:
    """The page's figures as PNG, by name."""
    drawings = (block for section in sections(facts) for block in section.blocks if isinstance(block, Drawing))
    return {drawing.name: to_png(drawing.figure) for drawing in drawings}


def _tone(facts: PageFacts) -> str:
    confirmed = facts.proof.confirmed if facts.proof is not None else None
    return {True: "good", False: "bad", None: "open"}[confirmed]


def _is_number(cell: str) -> bool:
    return bool(cell) and cell.strip("+-±.,% 0123456789") == ""
