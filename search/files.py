"""Files that are whole or not there at all, and what may be opened."""

import contextlib
import errno
import json
import os
import secrets
import stat
import tempfile
import time
from pathlib import Path

LONGEST_NAME = 200  # bytes of a study's name: files are called by it, with endings
PARTIAL = ".part"  # ends the name of a file that is being written
LEFT_BEHIND = 3_600.0  # seconds after which nobody writes such a file any more: they take milliseconds


def write_atomically(path: Path, content: str | bytes) -> None:
    """Writes a file so that it is the old one or the new one, whatever happens meanwhile, a power cut included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in find_leftovers(path.parent, f".{path.name}.*{PARTIAL}"):
        left.unlink(missing_ok=True)
    # A process's number would not do: containers that share the folder count alike, and threads have one in common.
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}{PARTIAL}")
    try:
        with partial.open("xb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        error.filename = str(path)  # of a full disk, the system names none
        raise
    finally:
        partial.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Puts the names in a folder on disk, where the file system can: until then a power cut takes a new one back."""
    with contextlib.suppress(OSError):  # Windows opens no folder
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def find_leftovers(folder: Path, pattern: str = f"**/.*{PARTIAL}") -> list[Path]:
    """The files below a folder that somebody began to write, and was killed."""
    found = []
    for path in sorted(folder.glob(pattern)):
        with contextlib.suppress(FileNotFoundError):  # its writer was at work, and is done
            if path.is_file() and time.time() - path.stat().st_mtime > LEFT_BEHIND:
                found.append(path)
    return found


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


def check_name(name: str) -> str:
    """A name that is a study's, and its folder's: returns it.

    Raises:
        ValueError: If no folder, option or line of text should be called so.
    """
    if not name or name[0] in ".-" or "/" in name or not name.isprintable():
        raise ValueError("it names a folder: no slashes, no leading dot or dash, nothing unprintable")
    if len(name.encode()) > LONGEST_NAME:
        raise ValueError(f"it is {len(name.encode())} bytes long, and {LONGEST_NAME} are the most")
    return name


def read_regular(path: Path, *, limit: int) -> bytes:
    """A file's content. Nothing that has no end, or keeps its reader waiting, is read: no FIFO, no device.

    Args:
        limit: The largest size, in bytes.

    Raises:
        OSError: With the file's name, if it is absent, no regular file, or larger.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))  # a FIFO that nobody writes to would block
    found = os.fstat(descriptor)
    if stat.S_ISREG(found.st_mode) and found.st_size <= limit:
        with open(descriptor, "rb") as file:
            return file.read(limit)
    os.close(descriptor)
    if stat.S_ISREG(found.st_mode):
        raise OSError(errno.EFBIG, f"larger than {limit:,} bytes", str(path))
    raise OSError(errno.EINVAL, "not a regular file", str(path))


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
