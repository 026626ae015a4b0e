"""What went wrong in somebody's code, in one line that names the place."""

import sysconfig
import traceback
from pathlib import Path

LIBRARIES = tuple(Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib"))
PACKAGE = Path(__file__).resolve().parent
LONGEST = 500  # characters


def describe_error(error: BaseException) -> str:
    """Its type, its text and where it was raised: "ZeroDivisionError: division by zero (mine.py:92)".

    Of the calls that led to it, the last that is neither a library's nor this package's is named, for there it can be
    mended; where there is none, the package's own.
    """
    words = f"{type(error).__name__}: {' '.join(str(error).split())}".removesuffix(": ")
    place = "" if isinstance(error, SyntaxError) else _place(error)  # that tells its own
    return words[: LONGEST - len(place)] + place


def _place(error: BaseException) -> str:
    own = others = ""
    for call in traceback.extract_tb(error.__traceback__):
        path = Path(call.filename)
        if path.is_relative_to(PACKAGE):
            own = f" ({path.relative_to(PACKAGE.parent).as_posix()}:{call.lineno})"
        elif path.is_absolute() and not any(map(path.is_relative_to, LIBRARIES)):  # not absolute: made by no file
            others = f" ({path.name}:{call.lineno})"
    return others or own
