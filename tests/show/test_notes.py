"""The dashboard's notes: what a search is, and which trial leads."""

import optuna_dashboard
from optuna.storages import RDBStorage
from optuna_dashboard import get_note

import space
from search.show.notes import NoteKeeper
from search.show.words import format_network
from search.studies.facts import TrialFacts
from search.studies.opening import open_search_study
from search.studies.optuna_private import writable
from search.studies.study import Binding, StoredStudy


def note_of_trial(search: StoredStudy, number: int) -> str:
    return get_note(writable(search.study, search.trials()[number]))


def test_notes_name_what_the_study_is_and_who_leads(search_study: StoredStudy) -> None:
    NoteKeeper(search_study).update()
    facts = TrialFacts.of(search_study.trials()[2])
    note = get_note(search_study.study)
    assert "1,999 parameters" in note
    assert "4 epochs" in note
    assert "data set: sample" in note
    assert f"trial 2, 98.50 % with {facts.num_params:,}" in note
    assert format_network(facts) in note_of_trial(search_study, 2)
    assert "verify-best" in note_of_trial(search_study, 2)


def test_notes_follow_the_leader(search_study: StoredStudy) -> None:
    notes = NoteKeeper(search_study)
    notes.update()
    search_study.study.tell(4, 99.0)
    notes.update()
    assert "trial 4, 99.00 %" in get_note(search_study.study)
    assert "trial 4, 99.00 %" in note_of_trial(search_study, 4)
    assert "trial 0" not in get_note(search_study.study)


def test_notes_are_written_only_when_the_leader_changes(search_study: StoredStudy) -> None:
    notes = NoteKeeper(search_study)
    notes.update()
    optuna_dashboard.save_note(search_study.study, "as somebody has edited it")
    notes.update()
    assert get_note(search_study.study) == "as somebody has edited it"


def test_notes_name_the_winner_until_another_trial_leads(search_study: StoredStudy) -> None:
    notes = NoteKeeper(search_study)
    notes.name_winner(search_study.trials()[0], 98.125)
    assert "Winner of the re-ranking: trial 0, 98.125 % on average" in get_note(search_study.study)
    assert note_of_trial(search_study, 0).startswith("Winner of the re-ranking")
    notes.name_winner(search_study.trials()[2], 98.25)
    assert note_of_trial(search_study, 2).startswith("Winner of the re-ranking")
    assert note_of_trial(search_study, 0) == "It has won an earlier re-ranking. Another trial has won since."
    search_study.study.tell(4, 99.0)
    notes.update()
    assert "Winner" not in get_note(search_study.study)


def test_a_study_without_a_leader_has_a_note_already(storage: RDBStorage, sample_binding: Binding) -> None:
    new = open_search_study(storage, "new", sample_binding, space.REFERENCE)
    NoteKeeper(new).update()
    assert new.best_trial() is None
    assert "1,999 parameters" in get_note(new.study)
    assert "Best" not in get_note(new.study)
