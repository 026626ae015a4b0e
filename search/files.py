"""Files that are whole or not there at all."""

import json
import os
import tempfile
from pathlib import Path


def write_atomically(path: Path, content: str | bytes) -> None:
    """Writes a file so that it is the old one or the new one, whatever happens meanwhile, a power cut included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with partial.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def append_line(path: Path, line: str) -> None:
    """Adds a line of JSON to a file that nothing else changes meanwhile; on disk when it returns.

    A last line that was cut off before goes; one that merely lacks its end is given it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        file.seek(0)
        before = whole_lines(file.read())
        file.truncate(len(before))
        end = b"" if before.endswith(b"\n") or not before else b"\n"
        file.write(end + f"{line}\n".encode())
        file.flush()
        os.fsync(file.fileno())


def whole_lines(content: bytes) -> bytes:
    """The lines of JSON but for a last one that was cut off; an editor may have taken its end from a whole one."""
    end = content.rfind(b"\n") + 1
    try:
        json.loads(content[end:])
    except (ValueError, RecursionError):
        return content[:end]
    return content


def check_writable(folder: Path) -> None:
    """Raises OSError where files could not be written later on."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass
