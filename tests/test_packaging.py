"""Every package folder is in the wheel, and the floors are the ones that stand at the top level."""

import tomllib
from pathlib import Path

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
