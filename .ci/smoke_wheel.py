"""Uses an installed wheel from outside the repository, without the extra packages that training needs."""

import importlib.util
import subprocess
import sys
import zipfile
from pathlib import Path

import gymnasium

import ludus

REPOSITORY = Path(__file__).resolve().parents[1]
FLOORS = {
    name: "ludus" if name == "ludus" else f"ludus/{name}"
    for name in ("ludus", "trainers", "agents", "envs", "tools", "kernels")
}


def ludus_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("ludus")), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def main(wheel: Path) -> None:
    assert REPOSITORY not in Path(ludus.__file__).parents or "site-packages" in ludus.__file__, ludus.__file__

    inside = set(zipfile.ZipFile(wheel).namelist())
    expected = {
        f"{package}/{path.relative_to(REPOSITORY / folder)}"
        for folder, package in FLOORS.items()
        for path in (REPOSITORY / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert expected <= inside, f"missing from the wheel: {sorted(expected - inside)}"

    env = gymnasium.make("ludus/PacManChat-v0")
    observation, info = env.reset(seed=7)
    assert observation in env.observation_space, observation
    assert info["task"]

    listing = ludus_command("envs")
    assert listing.returncode == 0, listing.stderr
    assert all(id in listing.stdout for id in ludus.environment_ids()), listing.stdout
    checked = ludus_command("check", "ludus/Arithmetic-v0")
    assert checked.returncode == 0, checked.stdout + checked.stderr

    assert importlib.util.find_spec("torch") is None, "this environment must not have torch"
    refused = ludus_command("train", str(REPOSITORY / "configs/arithmetic.toml"), "--directory", "refused")
    assert refused.returncode != 0, refused.stdout
    assert "ludus[train]" in refused.stderr, refused.stderr
    assert "Traceback" not in refused.stderr, refused.stderr
    print(f"{wheel.name}: {len(inside)} files, installed and used")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
