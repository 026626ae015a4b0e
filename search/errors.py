"""What went wrong in somebody's code, in one line that names the place."""

import sysconfig
import traceback
from pathlib import Path

STANDARD = tuple(Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib"))
INSTALLED = {"site-packages", "dist-packages"}  # wherever these are
PACKAGE = Path(__file__).resolve().parent
LONGEST = 500  # characters


def describe_error(error: BaseException, *, within: bool = False) -> str:
    """Its type, its text and where it was raised: "ZeroDivisionError: division by zero (mine.py:92)".

    Of the calls that led to it, the last that is neither a library's nor this package's is named, for there it can be
    mended.

    Args:
        within: Whether, where there is none, the place in this package is named.
    """
    words = f"{type(error).__name__}: {' '.join(str(error).split())}".removesuffix(": ")
    place = "" if isinstance(error, SyntaxError) else _place(error, within=within)  # that tells its own
    return words[: LONGEST - len(place)] + place


def _place(error: BaseException, *, within: bool) -> str:
    own = others = ""
    for call in traceback.extract_tb(error.__traceback__):
        path = Path(call.filename)
        if not path.is_absolute():  # made by no file
            continue
        path = path.resolve()
        if path.is_relative_to(PACKAGE):
            own = f" ({path.relative_to(PACKAGE.parent).as_posix()}:{call.lineno})"
        elif not INSTALLED & set(path.parts) and not any(map(path.is_relative_to, STANDARD)):
            others = f" ({path.name}:{call.lineno})"
    return others or (own if within else "")
