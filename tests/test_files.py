import os
from pathlib import Path

import pytest

from search.files import check_writable, write_atomically


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


def test_a_folder_that_can_be_written_is_made_and_left_empty(tmp_path: Path) -> None:
    check_writable(tmp_path / "results" / "deep")
    assert list((tmp_path / "results" / "deep").iterdir()) == []


def test_a_folder_that_cannot_be_written_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        check_writable(tmp_path / "file" / "results")
