import contextlib
import json
import os
import resource
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from search.files import (
    LEFT_BEHIND,
    append_line,
    check_name,
    check_writable,
    find_leftovers,
    read_regular,
    whole_lines,
    write_atomically,
)


def test_a_file_is_written_where_no_folder_can_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")  # as Windows does

    monkeypatch.setattr(os, "open", refuse)
    write_atomically(tmp_path / "summary.json", "new")
    assert (tmp_path / "summary.json").read_text() == "new"


def test_a_reader_never_sees_a_file_half_written(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "summary.json"
    write_atomically(path, "old")
    with path.open() as reader:
        write_atomically(path, b"new")
        assert reader.read() == "old"
    assert path.read_text() == "new"
    assert os.listdir(path.parent) == ["summary.json"]


def test_a_write_that_fails_leaves_the_old_file_whole(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    write_atomically(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(path, "new, but \ud800 cannot be written")
    assert path.read_text() == "old"


def test_a_disk_that_takes_no_more_is_told_with_the_file_that_was_to_be_written(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    _, most = limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, most))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            write_atomically(path, bytes(100))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.filename == str(path)
    assert os.listdir(tmp_path) == []


def test_writers_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    contents = [str(number) * 100_000 for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda content: write_atomically(path, content), contents * 4))
    assert path.read_text() in contents
    assert os.listdir(tmp_path) == ["summary.json"]


def test_a_file_can_be_read_by_whom_the_user_lets(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "summary.json", "new")
    finally:
        os.umask(before)
    assert (tmp_path / "summary.json").stat().st_mode & 0o777 == 0o640


def test_the_name_is_on_disk_when_the_file_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = []

    def note(descriptor: int) -> None:
        synced.append((Path(os.readlink(f"/proc/self/fd/{descriptor}")), sorted(os.listdir(tmp_path))))

    monkeypatch.setattr(os, "fsync", note)
    write_atomically(tmp_path / "summary.json", "new")
    (partial, before), (folder, after) = synced
    assert (before, [partial.name]) == ([partial.name], before)
    assert (folder, after) == (tmp_path, ["summary.json"])


def test_what_a_killed_writer_left_is_found_when_it_is_old_and_goes_with_the_next(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    write_atomically(folder / "summary.json", "old")
    old, new, other = (folder / f".{name}.part" for name in ("summary.json.01234567", "summary.json.89abcdef", "x.0"))
    for left in (old, new, other):
        left.touch()
    for left in (old, other):
        os.utime(left, (0, time.time() - LEFT_BEHIND - 60))
    assert find_leftovers(tmp_path) == [old, other]
    write_atomically(folder / "summary.json", "new")
    assert sorted(os.listdir(folder)) == [new.name, other.name, "summary.json"]
    assert find_leftovers(tmp_path / "nowhere") == []


def test_a_folder_that_can_be_written_is_made_and_left_empty(tmp_path: Path) -> None:
    check_writable(tmp_path / "results" / "deep")
    assert list((tmp_path / "results" / "deep").iterdir()) == []


def test_a_folder_that_cannot_be_written_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        check_writable(tmp_path / "file" / "results")


# What may be opened


def test_a_file_is_read_up_to_its_limit_and_not_beyond(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_bytes(b"12345")
    assert read_regular(path, limit=5) == b"12345"
    with pytest.raises(OSError, match="larger than 4 bytes") as refused:
        read_regular(path, limit=4)
    assert refused.value.filename == str(path)


def test_what_is_no_regular_file_is_refused_at_once_and_by_name(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    for path in (tmp_path / "pipe", tmp_path / "link", tmp_path, Path("/dev/null")):
        with pytest.raises(OSError, match="not a regular file") as refused:
            read_regular(path, limit=9)
        assert refused.value.filename == str(path)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_nothing_stays_open(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    before = os.listdir("/proc/self/fd")
    for path in (tmp_path, tmp_path / "file"):
        for _ in range(3):
            with contextlib.suppress(OSError):
                read_regular(path, limit=9)
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.parametrize("name", ["mnist-7999p-15e", "a b", "größer", "x" * 200, "ä" * 100, "a.b", "_"])
def test_a_name_that_can_be_a_folders_is_returned(name: str) -> None:
    assert check_name(name) == name


# Lines

FIRST, SECOND, THIRD = (json.dumps({"kind": "look", "seed": seed, "outcome": {"errors": 60}}) for seed in range(3))


def test_lines_are_added_one_after_the_other(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "attempts.jsonl"
    append_line(path, FIRST)
    append_line(path, SECOND)
    assert path.read_text() == f"{FIRST}\n{SECOND}\n"


def test_a_line_that_was_cut_off_goes_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "attempts.jsonl"
    for length in range(len(SECOND)):
        path.write_text(f"{FIRST}\n{SECOND[:length]}")
        append_line(path, THIRD)
        assert path.read_text() == f"{FIRST}\n{THIRD}\n", length
    path.write_bytes(SECOND.encode()[:9] + b"\xc3")  # in the middle of a character, in a file of nothing else
    append_line(path, THIRD)
    assert path.read_text() == f"{THIRD}\n"


def test_a_whole_line_without_its_end_stays(tmp_path: Path) -> None:
    path = tmp_path / "attempts.jsonl"
    path.write_text(f"{FIRST}\n{SECOND}")  # as an editor may leave it
    append_line(path, THIRD)
    assert path.read_text() == f"{FIRST}\n{SECOND}\n{THIRD}\n"


def test_a_line_is_on_disk_when_it_is_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "attempts.jsonl"
    synced = []

    def sync(file: int) -> None:
        synced.append((os.path.samestat(os.fstat(file), path.stat()), path.read_text()))

    monkeypatch.setattr(os, "fsync", sync)
    append_line(path, FIRST)
    assert synced == [(True, f"{FIRST}\n")]


def test_a_line_that_cannot_be_added_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        append_line(tmp_path / "file" / "attempts.jsonl", FIRST)


@pytest.mark.parametrize(
    ("content", "whole"), [(b"", b""), (b"{", b""), (b"1\n{", b"1\n"), (b"1\n2", b"1\n2"), (b"[" * 100_000, b"")]
)
def test_lines_are_whole_but_for_a_last_one_that_is_not_json(content: bytes, whole: bytes) -> None:
    assert whole_lines(content) == whole
