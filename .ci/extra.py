"""Prints the requirements of named groups of pyproject.toml, one a line, to install without the project."""

import sys
import tomllib
from pathlib import Path

project = tomllib.loads((Path(__file__).resolve().parents[1] / "pyproject.toml").read_text())["project"]
GROUPS = {"dependencies": project["dependencies"], **project["optional-dependencies"]}
APART = ("openenv", "trl", "verifiers", "reasoning-gym", "textarena", "gem")
"""Extras of other frameworks, each for an environment of its own: what most of them pin does not go together
with the packages of the others."""


def requirements(group: str) -> list[str]:
    """The group's requirements; a reference to the project's own extras becomes what they require."""
    found = []
    for requirement in GROUPS[group]:
        name, _, extras = requirement.partition("[")
        if name == project["name"]:
            for extra in extras.rstrip("]").split(","):
                found += requirements(extra)
        else:
            found.append(requirement)
    return found


if __name__ == "__main__":
    print("\n".join(requirement for group in sys.argv[1:] for requirement in requirements(group)))
