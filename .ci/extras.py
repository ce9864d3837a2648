"""Installs the wheel with each extra alone into a clean environment, and tries every command there.

    python .ci/extras.py dist/ludus-….whl

What an environment has must work; what it lacks must be refused in one line that names the extra. Packages
that come without an extra are installed once, and hard-linked into the other environments.
"""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
import tomllib
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from extra import APART

REPOSITORY = Path(__file__).resolve().parents[1]
FOLDER = REPOSITORY / "build" / "extras"
TIMEOUT_S = 240


@dataclass(frozen=True, slots=True)
class Trial:
    """A command, and the extras without which it is refused."""

    command: str
    """Arguments of `ludus`; or Python, where it begins with `import`."""
    extras: str = ""
    """Their names, with blanks between."""
    serves: bool = False
    """Whether it goes on until it is told to end, once it has said where it listens."""


TRIALS = (
    Trial("envs"),
    Trial("check ludus/Arithmetic-v0"),
    Trial("play ludus/Arithmetic-v0 --agent oracle"),
    Trial("play ludus/Calendar-v0 --agent oracle"),
    Trial("eval ludus/Arithmetic-v0 --agent oracle --episodes 8"),
    Trial("eval ludus/DataAnalysis-v0 --agent oracle --episodes 2", "code"),
    Trial("bench ludus/Search-v0 --model scripted:oracle --n 2 --out bench"),
    Trial("bench ludus/DataAnalysis-v0 --model scripted:oracle --n 2 --out bench-data", "code"),
    Trial("import ludus.envs.games; ludus.envs.games.aec('TicTacToe')", "games"),
    Trial("check ludus/ReasoningGym-v0", "reasoning-gym"),
    Trial("check ludus/TextArena-v0", "textarena"),
    Trial("check ludus/Gem-v0", "gem"),
    Trial("serve tools --port 0", "serve", serves=True),
    Trial("serve mcp ludus/Calendar-v0", "serve"),
    Trial("import ludus.agents.trl; ludus.agents.trl.rollout_func('ludus/Arithmetic-v0')", "trl"),
    Trial("import ludus_vf", "verifiers"),
    Trial("serve openenv ludus/Arithmetic-v0 --port 0", "openenv", serves=True),
    Trial(
        f"train {REPOSITORY}/configs/arithmetic.toml --directory run --sft.steps 2 --sft.demonstrations 64 "
        "--grpo.steps 1 --evaluation.episodes 8",
        "train",
    ),
    Trial("eval ludus/Arithmetic-v0 --model run --episodes 2", "train"),
    Trial("serve model run --port 0", "train serve", serves=True),
    Trial("import ludus.kernels; ludus.kernels.linear_logprob", "train"),
)


def main(wheel: Path) -> int:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    extras = [extra for extra in project["optional-dependencies"] if extra not in ("dev", "docs", *APART)]
    shutil.rmtree(FOLDER, ignore_errors=True)
    problems = [f"the wheel lacks {file}" for file in missing_from(wheel)]
    problems += tried(install(wheel, None), "none", ())
    for extra in extras:
        has = [name for name in extras if name != "all"] if extra == "all" else [extra]
        python = install(wheel, extra)
        problems += tried(python, extra, has)
        shutil.rmtree(python.parents[1])
    print(
        "\n".join(problems) or f"every extra alone: {len(TRIALS)} commands in {len(extras) + 1} environments"
    )
    return 1 if problems else 0


def missing_from(wheel: Path) -> list[str]:
    """Files of the package folders that are not in the wheel."""
    floors = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["setuptools"]["package-dir"]
    expected = {
        f"{package.replace('.', '/')}/{path.relative_to(REPOSITORY / folder)}"
        for package, folder in floors.items()
        for path in (REPOSITORY / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    return sorted(expected - set(zipfile.ZipFile(wheel).namelist()))


def install(wheel: Path, extra: str | None) -> Path:
    """The interpreter of an environment with the wheel and that extra alone."""
    start = time.monotonic()
    environment = FOLDER / (extra or "none")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    python = environment / "bin" / "python"
    if extra is not None:
        subprocess.run(["cp", "-al", *packages(FOLDER / "none"), str(site(environment))], check=True)
    wanted = str(wheel.resolve()) + (f"[{extra}]" if extra else "")
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check"]
    options = ["--quiet", "--no-compile", "--constraint", str(REPOSITORY / "constraints.txt")]
    subprocess.run([*pip, "install", *options, wanted], check=True)
    print(f"-- {extra or 'no extra'}: installed in {time.monotonic() - start:.0f} s", flush=True)
    return python


def site(environment: Path) -> Path:
    return next(environment.glob("lib/python*/site-packages"))


def packages(environment: Path) -> list[str]:
    return [str(entry) for entry in site(environment).iterdir()]


def tried(python: Path, extra: str, has: "list[str] | tuple[()]") -> Iterator[str]:
    """What went wrong with the trials in one environment."""
    folder = FOLDER / f"{extra}-tried"
    folder.mkdir()
    for trial in TRIALS:
        start = time.monotonic()
        missing = [needed for needed in trial.extras.split() if needed not in has]
        code, output, errors = run(python, trial, folder)
        problem = None
        if not missing and code != 0:
            problem = f"failed with {code}: {(output + errors).strip()[-2000:]}"
        elif missing and code in (0, None):
            problem = "worked, though its extra is missing"
        elif missing and not names(trial, missing, errors):
            named = " or ".join(missing)
            problem = f"was not refused in one line that names {named}: {errors.strip()[-2000:]}"
        print(
            f"   {time.monotonic() - start:5.1f} s  {trial.command}",
            "" if problem is None else " **",
            flush=True,
        )
        if problem is not None:
            yield f"with the extra {extra}, `{trial.command}` {problem}"


def names(trial: Trial, missing: list[str], errors: str) -> bool:
    """Whether the last line, and for a command the only line that tells of an error, names an extra that is
    missing."""
    lines = errors.strip().splitlines()
    told = trial.command.startswith("import") or "Traceback" not in errors
    return told and bool(lines) and any(f"ludus[{extra}]" in lines[-1] for extra in missing)


def run(python: Path, trial: Trial, folder: Path) -> tuple[int | None, str, str]:
    """Exit code, output and errors; a server is told to end once it listens."""
    arguments = shlex.split(trial.command)
    command = [str(python), "-m", "ludus", *arguments]
    if trial.command.startswith("import"):
        command = [str(python), "-c", trial.command]
    environment = {
        name: value for name, value in os.environ.items() if name not in ("LUDUS_SANDBOX", "PYTHONPATH")
    }
    process = subprocess.Popen(
        command, cwd=folder, env=environment, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout
    listening = process.stdout.readline() if trial.serves else ""
    if listening:
        process.send_signal(signal.SIGTERM)
    try:
        output, errors = process.communicate(timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        output, errors = process.communicate()
        errors += f"\nnot done in {TIMEOUT_S} s"
    return process.returncode, listening + output, errors


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
