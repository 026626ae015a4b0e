"""What pyproject.toml cannot say: as installed, `search` is `tiny_mnist_search`, and carries the search space.

Imports within the package are relative, so it need not know its name.
"""

from pathlib import Path
from shutil import copyfile

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

SPACE = Path(__file__).parent / "space.py"
INSTALLED = "tiny_mnist_search"
FOLDER = "search"


class BuildWithSpace(build_py):
    """Puts space.py into the package; `default_space` in search/studies/space.py finds it there."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            copyfile(SPACE, Path(self.build_lib) / INSTALLED / SPACE.name)


setup(
    packages=[INSTALLED + name.removeprefix(FOLDER) for name in find_packages(include=[FOLDER, f"{FOLDER}.*"])],
    package_dir={INSTALLED: FOLDER},
    cmdclass={"build_py": BuildWithSpace},
)
