"""What pyproject.toml cannot say: an installed package carries the search space that a checkout has beside it."""

from pathlib import Path
from shutil import copyfile

from setuptools import setup
from setuptools.command.build_py import build_py

SPACE = Path(__file__).parent / "space.py"


class BuildWithSpace(build_py):
    """Puts space.py into the package; `search.studies.space.default_space` finds it there."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            copyfile(SPACE, Path(self.build_lib) / "search" / "space.py")


setup(cmdclass={"build_py": BuildWithSpace})
