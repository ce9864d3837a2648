"""Prints the requirements of named groups of pyproject.toml, one a line, to install without the project."""

import sys
import tomllib
from pathlib import Path

project = tomllib.loads((Path(__file__).resolve().parents[1] / "pyproject.toml").read_text())["project"]
groups = {"dependencies": project["dependencies"], **project["optional-dependencies"]}
print("\n".join(requirement for name in sys.argv[1:] for requirement in groups[name]))
