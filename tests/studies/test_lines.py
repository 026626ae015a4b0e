"""The table of lines beside Optuna's."""

import optuna
import sqlalchemy
from optuna.storages import RDBStorage

from search.studies.finding import delete_studies
from search.studies.lines import add_line, read_lines
from search.studies.storage import open_storage
from search.studies.turns import exclusive


def test_lines_are_read_as_they_were_added(storage: RDBStorage) -> None:
    assert read_lines(storage) == []
    lines = {"b": '{"more": "Zürich \\u0000"}', "a": "x" * 100_000, "c": ""}
    for identity, line in lines.items():
        add_line(storage, identity, line)
    assert dict(read_lines(storage)) == lines


def test_reading_makes_no_table(storage: RDBStorage) -> None:
    before = sqlalchemy.inspect(storage.engine).get_table_names()
    read_lines(storage)
    assert sqlalchemy.inspect(storage.engine).get_table_names() == before


def test_a_line_is_never_changed(storage: RDBStorage) -> None:
    add_line(storage, "a", "the first")
    add_line(storage, "a", "the second")
    assert read_lines(storage) == [("a", "the first")]


def test_lines_are_added_while_the_databases_lock_is_held(storage: RDBStorage) -> None:
    with exclusive(storage):
        add_line(storage, "a", "one")
    assert read_lines(storage) == [("a", "one")]


def test_lines_outlive_all_studies(storage: RDBStorage, storage_url: str) -> None:
    optuna.create_study(storage=storage, study_name="small")
    add_line(storage, "a", "one")
    delete_studies(storage, ["small"])
    assert read_lines(storage) == [("a", "one")]
    again = open_storage(storage_url)  # neither Optuna nor this tool minds the table
    assert read_lines(again) == [("a", "one")]
    again.remove_session()
    again.engine.dispose()
