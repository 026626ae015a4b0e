"""Plans: which trials a command wants. Each has a key; a trial that completed, was pruned or runs holds its key."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from ..config import derive_seed
from .choices import make_sampler
from .facts import TrialFacts
from .optuna_private import fixed_params

Key = int | tuple[tuple[str, Any], ...]
Params = dict[str, Any]


class Plan(Protocol):
    """Which trials a command wants. Sent to each worker, so it has to be picklable."""

    @property
    def keys(self) -> Sequence[Key]:
        """One for each trial, in the order in which they are to start."""

    def key_of(self, trial: FrozenTrial) -> Key | None:
        """The key that a trial was started for."""

    def params_of(self, key: Key) -> Params | None:
        """What the trial's parameters have to be; None where a sampler draws them."""

    def sampler(self, key: Key, attempt: int) -> BaseSampler:
        """What draws the parameters. `attempt` counts the trials that failed by their own fault."""

    def mark(self, key: Key) -> TrialFacts:
        """What a trial has to carry for its key to be known again."""


@dataclass(frozen=True, kw_only=True)
class DrawnPlan:
    """A search: so many trials, whose parameters a sampler draws. The key is the trial's place, its *ticket*.

    All of a trial's randomness derives from (seed, ticket), the sampler's too, so an interrupted study that goes on is
    the study that it would have been.
    """

    num_trials: int
    sampler_name: str
    seed: int

    @property
    def keys(self) -> Sequence[Key]:
        return range(self.num_trials)

    def key_of(self, trial: FrozenTrial) -> Key | None:
        ticket = trial.user_attrs.get("ticket")  # alone: all trials' facts take long to read
        return ticket if isinstance(ticket, int) else None

    def params_of(self, key: Key) -> Params | None:
        return None

    def sampler(self, key: Key, attempt: int) -> BaseSampler:
        assert isinstance(key, int)
        return make_sampler(self.sampler_name, derive_seed(self.seed, "sampler", key, attempt))

    def mark(self, key: Key) -> TrialFacts:
        assert isinstance(key, int)
        return TrialFacts(ticket=key)


@dataclass(frozen=True, kw_only=True)
class GivenPlan:
    """Runs whose parameters are all given, each once. The key is the parameters."""

    runs: tuple[Params, ...]

    @property
    def keys(self) -> Sequence[Key]:
        return [_as_key(params) for params in self.runs]

    def key_of(self, trial: FrozenTrial) -> Key | None:
        return _as_key(fixed_params(trial) or trial.params)

    def params_of(self, key: Key) -> Params | None:
        assert isinstance(key, tuple)
        return dict(key)

    def sampler(self, key: Key, attempt: int) -> BaseSampler:
        return make_sampler("random", 0)  # has nothing to draw

    def mark(self, key: Key) -> TrialFacts:
        return TrialFacts()


def _as_key(params: Params) -> Key:
    return tuple(sorted(params.items()))
