"""`docs/architecture.md` describes the repository: every path that it names exists."""

import re
from itertools import product
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = (
    "kernels",
    "tools",
    "envs",
    "agents",
    "trainers",
    "ludus",
    "docs",
    "tests",
    "benchmarks",
    "examples",
    ".ci",
)
PAGE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`([\w./{},*<>-]+?(?:\.(?:py|md|sh)|/))`", PAGE)))


PATHS = [path.relative_to(ROOT) for top in FOLDERS for path in (ROOT / top).rglob("*")]
ENDS = {"/".join(path.parts[begin:]) for path in PATHS for begin in range(len(path.parts))}
"""Every path below the folders, from the root and from any folder on the way."""


def exists(name: str) -> bool:
    if "*" not in name:
        return name in ENDS or (ROOT / name).exists()
    return any(ROOT.glob(name)) or any(path.match(name) for path in PATHS)


def spelled_out(path: str) -> list[str]:
    """`a/{b,c}.py` is `a/b.py` and `a/c.py`; a word in capitals (`kernels/OP/`) stands for any name."""
    parts = re.split(r"\{([^}]*)\}", re.sub(r"\b[A-Z]{2,}\b", "*", path))
    choices = [part.split(",") if number % 2 else [part] for number, part in enumerate(parts)]
    return ["".join(choice) for choice in product(*choices)]


def test_the_page_names_paths() -> None:
    assert len(NAMED) > 60


@pytest.mark.parametrize("path", NAMED)
def test_a_path_that_the_page_names_exists(path: str) -> None:
    for name in spelled_out(path):
        assert exists(name.rstrip("/")), f"docs/architecture.md names {path}, and there is no {name}"
