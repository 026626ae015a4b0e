"""The search space as a command is given it, and the hash by which studies know it again."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import optuna

from search.config import DEFAULT_MAX_PARAMS, ExplainedError, TrialConfig
from search.provenance import space_hash

SuggestConfig = Callable[[optuna.trial.BaseTrial, int], TrialConfig]


class SpaceError(ExplainedError):
    """The search space contradicts itself."""


@dataclass(frozen=True, kw_only=True)
class Space:
    """The search space, as `space.py` defines it.

    Attributes:
        suggest_config: Draws a configuration of at most so many parameters.
        reference: What every study's first trial draws.
        path: The module's file.
    """

    suggest_config: SuggestConfig
    reference: dict[str, int | float]
    path: Path

    @property
    def hash(self) -> str:
        return space_hash(self.path)

    def check_reference(self) -> None:
        """Refuses a first trial that lacks a parameter, which would be drawn at random in silence.

        Raises:
            SpaceError: If it lacks one, or one of its values is out of range.
        """
        trial = optuna.trial.FixedTrial(dict(self.reference))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", UserWarning)  # a value out of range
                self.suggest_config(trial, DEFAULT_MAX_PARAMS)
        except (ValueError, UserWarning) as error:
            reason = " ".join(str(error).split())
            raise SpaceError(
                f"REFERENCE in {self.path.name} cannot be every study's first trial ({reason}). It has to hold a value "
                f"for each parameter that suggest_config draws."
            ) from error
