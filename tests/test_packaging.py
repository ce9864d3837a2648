"""Every package folder is in the wheel, and the floors are those at the top level."""

import re
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from ludus.tools.extras import EXTRAS, how_to_install

REPOSITORY = Path(__file__).resolve().parents[1]


def test_every_package_folder_is_packaged() -> None:
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {}
    for package, folder in settings["package-dir"].items():
        for init in (REPOSITORY / folder).rglob("__init__.py"):
            inner = init.parent.relative_to(REPOSITORY / folder).parts
            folders[".".join([package, *inner])] = init.parent
    assert set(settings["packages"]) == set(folders)


def test_every_folder_with_modules_is_a_package() -> None:
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["setuptools"]
    for folder in settings["package-dir"].values():
        for module in (REPOSITORY / folder).rglob("*.py"):
            assert (module.parent / "__init__.py").exists(), f"{module.parent} has modules but no __init__.py"


def test_pages_say_what_docstrings_say() -> None:
    done = subprocess.run(
        [sys.executable, ".ci/pages.py", "--check"], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("place", ["the clone's parent", "the repository", "elsewhere"])
def test_import_from(place: str, tmp_path: Path) -> None:
    """From the parent of a clone called `ludus`, the clone itself looks like an empty namespace package."""
    folder = REPOSITORY if place == "the repository" else tmp_path
    if place == "the clone's parent":
        (tmp_path / "ludus" / "envs").mkdir(parents=True)
    program = "import ludus, ludus.envs.base as base; print(ludus.__file__, base.__file__, sep='\\n')"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.split() == [str(REPOSITORY / "ludus/__init__.py"), str(REPOSITORY / "envs/base.py")], (
        done.stderr
    )


def test_every_package_of_an_extra_is_known_to_the_errors_that_name_it() -> None:
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for extra, modules in EXTRAS.items():
        required = {re.split(r"[^\w.-]", line)[0].replace("-", "_") for line in extras[extra]}
        assert set(modules) == required
    assert how_to_install("pandas") == "pip install 'ludus[code]'"
    assert how_to_install("polars") == "pip install polars"


def test_the_extra_all_is_every_extra_of_a_user_that_goes_with_others() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    (reference,) = extras["all"]
    named = re.fullmatch(r"ludus\[(.+)\]", reference)
    assert named
    apart = runpy.run_path(str(REPOSITORY / ".ci/extra.py"))["APART"]
    assert set(named[1].split(",")) == set(extras) - {"all", "dev", "docs", *apart}
