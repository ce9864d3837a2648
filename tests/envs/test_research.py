"""The blocks of the pages on research code and other frameworks run as they stand there (that of
Stable-Baselines3 in `test_stable_baselines.py`); what else their libraries ask for."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "surfaces" / "research.md"
RESEARCH = os.environ.get("LUDUS_TEST_RESEARCH")
needs_research = pytest.mark.skipif(
    RESEARCH is None, reason='needs TorchRL and pygame: peer=$(.ci/peers.sh start research); eval "$peer"'
)


AGILERL = os.environ.get("LUDUS_TEST_AGILERL")


def block(title: str, page: Path = PAGE) -> str:
    section = page.read_text(encoding="utf-8").partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    (code,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    return str(code)


def run(code: str, folder: Path, python: str = sys.executable) -> str:
    script = folder / "block.py"
    script.write_text(code, encoding="utf-8")
    # No window, no sound.
    env = {**os.environ, "SDL_VIDEODRIVER": "dummy", "SDL_AUDIODRIVER": "dummy"}
    done = subprocess.run(
        [python, str(script)], capture_output=True, text=True, timeout=280, cwd=folder, env=env
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def researched(code: str, folder: Path) -> str:
    return run(code, folder, f"{RESEARCH}/python")


def test_copies(tmp_path: Path) -> None:
    run(block("Copies and processes"), tmp_path)


@pytest.mark.slow
def test_the_loop_learns_to_win(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="needs torch: pip install 'ludus[train]'")
    last = run(block("A loop in one file"), tmp_path).splitlines()[-1]
    # Random legal moves come to 0.30.
    assert float(last.split()[-1]) > 0.7


@needs_research
def test_a_conversation_is_filmed(tmp_path: Path) -> None:
    researched(block("Gymnasium's wrappers"), tmp_path)
    assert (tmp_path / "videos" / "rl-video-episode-0.mp4").stat().st_size > 1000


PRESSED = """
import gymnasium as gym, pygame
from ludus.envs.grid.pacman.environment import PacMan
steps, step = [], PacMan.step
def recorded(self, action):
    steps.append(int(action))
    return step(self, action)
PacMan.step = recorded
def key(kind, code):
    return [pygame.event.Event(kind, key=code)]
left, right = pygame.K_LEFT, pygame.K_d
events = [[], key(pygame.KEYDOWN, left), key(pygame.KEYUP, left), key(pygame.KEYDOWN, right)]
events.append([pygame.event.Event(pygame.QUIT)])
pygame.event.get = lambda: events.pop(0)
"""


@needs_research
def test_keys_move_pacman(tmp_path: Path) -> None:
    """The arrow to the left, then D: each moves him for as long as it is held."""
    told = researched(PRESSED + block("Play with the keyboard") + "\nprint(steps)\n", tmp_path)
    assert told.splitlines()[-1] == "[3, 1]"


TORCHRL = """
from torchrl.envs import GymEnv, check_env_specs
import ludus
from ludus.envs.games import GAMES
for id in ("ludus/PacMan-v0", "ludus/Market-v0", *(f"ludus/{name}-v0" for name in GAMES)):
    env = GymEnv(id)
    check_env_specs(env, seed=1)
    env.close()
"""


@needs_research
def test_torchrl_is_content_with_every_form_in_numbers(tmp_path: Path) -> None:
    researched(TORCHRL, tmp_path)


@needs_research
def test_torchrl_plays_one_game_and_many(tmp_path: Path) -> None:
    one, many = researched(block("TorchRL"), tmp_path).splitlines()
    assert re.fullmatch(r"torch.Size\(\[\d+, 15, 15\]\) tensor\(-?\d+\.\)", one)
    assert many == "torch.Size([16, 100])"


@pytest.mark.slow
@pytest.mark.skipif(AGILERL is None, reason='needs AgileRL: peer=$(.ci/peers.sh start agilerl); eval "$peer"')
def test_agilerl_trains(tmp_path: Path) -> None:
    told = run(block("AgileRL", PAGE.with_name("others.md")), tmp_path, f"{AGILERL}/python")
    fitness = float(told.splitlines()[-1].strip("[]"))
    assert -1.2 <= fitness <= 1


@needs_research
def test_skyrl_plays_an_episode(tmp_path: Path) -> None:
    told = researched(block("SkyRL-gym", PAGE.with_name("others.md")), tmp_path)
    assert re.fullmatch(r"\d -?\d\S* (True|False)\n", told)
