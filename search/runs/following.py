"""What the commands that follow a search begin with: which trial, its configuration, and how its runs are measured."""

from dataclasses import dataclass

from ..config import TrialConfig
from ..net.data import fingerprint, load_search_splits
from ..net.datasets import DataError, dataset_row
from ..settings import RunSettings
from ..show.screen import Screen
from ..studies.facts import StudyFacts, config_facts
from ..studies.finding import find_search_study
from ..studies.kinds import Kind
from ..studies.opening import open_following_study
from ..studies.space import Space
from ..studies.study import StoredStudy
from .session import Session
from .testing import FinalTest
from .winner import Choice, choose_trial, rebuild_config


@dataclass(frozen=True, kw_only=True)
class FollowUp:
    """A search, and the trial of it that a command is about."""

    session: Session
    search: StoredStudy
    choice: Choice
    config: TrialConfig
    test: FinalTest

    @classmethod
    def begin(cls, settings: RunSettings, space: Space, screen: Screen, *, trial: int | None) -> "FollowUp":
        """Fails before anything is computed.

        Args:
            trial: The trial's number; None for the winner.

        Raises:
            ExplainedError: If there is no such trial, or its images, space or recipe are not at hand.
        """
        session = Session.open(settings, space, screen, create=False)
        search = find_search_study(session.storage, settings.study_name)
        choice = choose_trial(search, trial)
        config = rebuild_config(search, choice.trial, space)
        binding = search.binding
        test = FinalTest(
            dataset=binding.dataset, data_dir=settings.data_dir, precision=session.precision, epochs=binding.epochs
        )
        test.check_data()
        if fingerprint(*load_search_splits(dataset_row(binding.dataset), settings.data_dir)) != binding.split:
            raise DataError(
                f"The training images of {binding.dataset} are not those that study {search.name!r} was made with: "
                f"restore them, or search anew under another --study-name."
            )
        return cls(session=session, search=search, choice=choice, config=config, test=test)

    @property
    def number(self) -> int:
        return self.choice.trial.number


def open_follower(search: StoredStudy, kind: Kind, choice: Choice, config: TrialConfig) -> StoredStudy:
    """The study whose trials are runs of one searched trial: its seeds, or its rungs.

    Raises:
        StudyError: If a study of that name is about another configuration.
    """
    number = choice.trial.number
    return open_following_study(search, kind, StudyFacts(trial=number, **config_facts(config)), trial=number)
