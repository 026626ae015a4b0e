"""The search space as a command is given it, from its file, and the hash by which studies know it again."""

import ast
import hashlib
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType

import optuna

from ..config import PACKAGE, ExplainedError, TrialConfig
from ..errors import describe_error
from ..files import read_regular
from ..provenance import imports_of_this_package, rename, space_hash

LARGEST_FILE = 2**20  # bytes
FOLDER = Path(__file__).resolve().parent.parent  # of the package

SuggestConfig = Callable[[optuna.trial.BaseTrial, int], TrialConfig]


class SpaceError(ExplainedError):
    """The search space cannot be read, or contradicts itself."""


def default_space() -> Path:
    """The file of the space that is searched where no other is named: beside this package, or, installed, within."""
    installed = FOLDER / "space.py"
    return installed if installed.exists() else FOLDER.parent / "space.py"


def load_space(path: Path | str | None = None) -> "Space":
    """The search space that a file defines by `suggest_config` and `REFERENCE`.

    Args:
        path: None for the default.

    Raises:
        SpaceError: If it does not, or cannot be read or run.
    """
    path = Path(path or default_space()).resolve()
    module = _load(path)
    for name, is_there in (("suggest_config", callable), ("REFERENCE", _is_dict)):
        if not is_there(getattr(module, name, None)):
            raise SpaceError(f"{path} defines no {name}. Start from a copy of {default_space()}.")
    return Space(suggest_config=SpaceFile(path), reference=module.REFERENCE, path=path)


def _is_dict(value: object) -> bool:
    return isinstance(value, dict)


@dataclass(frozen=True)
class SpaceFile:
    """The `suggest_config` of a file, which another process loads anew."""

    path: Path

    def __call__(self, trial: optuna.trial.BaseTrial, max_params: int) -> TrialConfig:
        config = _load(self.path).suggest_config(trial, max_params)
        if not isinstance(config, TrialConfig):
            raise SpaceError(f"suggest_config in {self.path} has to return a TrialConfig, not {type(config).__name__}.")
        return config


def _load(path: Path) -> ModuleType:
    if path.suffix != ".py":
        raise SpaceError(f"{path} is no Python file: its name has to end in .py.")
    try:
        return _run(path, read_regular(path, limit=LARGEST_FILE))
    except OSError as error:
        raise SpaceError(
            f"{path} cannot be read ({error.strerror or error}). Name another file with --space."
        ) from error


@cache
def _run(path: Path, content: bytes) -> ModuleType:
    """The module that this content of the file makes: a file that was edited since is another."""
    module = ModuleType(f"search_space_{hashlib.sha256(content).hexdigest()[:16]}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # where dataclasses, say, look for what they belong to
    try:
        exec(compile(_at_home(ast.parse(content, str(path))), str(path), "exec"), module.__dict__)
    except (Exception, SystemExit) as error:
        del sys.modules[module.__name__]
        raise SpaceError(f"{path} cannot be used: {describe_error(error)}.") from error
    return module


def _at_home(tree: ast.Module) -> ast.Module:
    """The same code; by whichever of its names it imports this package, it is given this very one, and no copy."""
    for node in imports_of_this_package(tree):
        if isinstance(node, ast.alias) and node.asname is None:
            raise ImportError(f"write 'from {node.name} import ...' for 'import {node.name}' in line {node.lineno}")
        rename(node, PACKAGE)
    return tree


@dataclass(frozen=True, kw_only=True)
class Space:
    """The search space, as its file defines it.

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

    def check_reference(self, max_params: int) -> None:
        """Refuses a first trial that lacks a parameter, which would be drawn at random in silence, or is too large.

        Raises:
            SpaceError: If it lacks one, one of its values is out of range, or its network is over the budget.
        """
        refused = f"REFERENCE in {self.path.name} cannot be every study's first trial"
        trial = optuna.trial.FixedTrial(dict(self.reference))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", UserWarning)  # a value out of range
                config = self.suggest_config(trial, max_params)
        except SpaceError:
            raise
        except Exception as error:  # whatever the file gets wrong
            from .optuna_private import missing_parameter  # brings samplers along

            missing = missing_parameter(error)
            if missing is not None:
                raise SpaceError(
                    f"{refused}: it holds no {missing!r}, and has to hold every parameter that suggest_config draws."
                ) from error
            raise SpaceError(f"{refused}: {describe_error(error)}.") from error
        if config.model.num_params > max_params:
            raise SpaceError(
                f"{refused}: its network has {config.model.num_params:,} parameters, and the budget is {max_params:,}. "
                "Let suggest_config take the widths from fit_channels, which keeps to the budget."
            )
