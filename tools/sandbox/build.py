"""`ludus sandbox build`: the image that the backend `docker` runs guests in."""

import importlib.metadata
import platform
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ludus.tools.errors import UserError
from ludus.tools.sandbox.engine import PACKAGES_LABEL, canonical, connect, engine_errors, image_name

if TYPE_CHECKING:
    import docker

_DOCKERFILE = Path(__file__).parent / "image" / "Dockerfile"
_OLDEST_GLIBC, _NEWEST_GLIBC = 5, 36  # 2.x: the versions that wheels may be built for, up to Debian 12's


def build_image(
    packages: Sequence[str] = (),
    root_filesystem: Path | None = None,
    name: str | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> str:
    """Build the image, and return its name.

    Packages come from the package index that pip is configured for, in the versions installed here, if any,
    so that a program finds the same ones in every backend. No step of the build has network access.

    Args:
        packages: Distributions that guests may import; their dependencies are included.
        root_filesystem: A tar of a Linux system with `python3` (3.11 or newer) to start from when no image
            registry can be reached; by default, the official Python image.
        name: The image's name; by default, the one that the backend uses.
        say: Called with each line of progress.

    Raises:
        UserError: there is no engine, file, package or registry, or the system's Python is too old.
    """
    name = name or image_name()
    if root_filesystem is not None and not root_filesystem.is_file():
        raise UserError(f"--from-tar: there is no file {root_filesystem}")
    if root_filesystem is not None and not tarfile.is_tarfile(root_filesystem):
        raise UserError(f"--from-tar: {root_filesystem} is not a tar of a root filesystem")
    engine = connect()
    with engine_errors(f"cannot build {name}"):
        base = _imported(engine, root_filesystem, name, say) if root_filesystem else _official(engine, say)
        with tempfile.TemporaryDirectory(prefix="ludus-image-") as folder:
            context = Path(folder)
            (context / "Dockerfile").write_bytes(_DOCKERFILE.read_bytes())
            site = context / "site"
            site.mkdir()
            if packages:
                say(f"packages: {', '.join(packages)}")
                _install(packages, site, _python_version(engine, base))
            there = importlib.metadata.distributions(path=[str(site)])
            names = ",".join(sorted(canonical(distribution.metadata["Name"]) for distribution in there))
            _build(engine, context, name, base, {PACKAGES_LABEL: names}, say)
    return name


def _official(engine: "docker.APIClient", say: Callable[[str], None]) -> str:
    import docker

    base = f"python:{sys.version_info[0]}.{sys.version_info[1]}-slim"
    try:
        engine.inspect_image(base)
    except docker.errors.ImageNotFound:
        say(f"pulling {base}")
        try:
            engine.pull(base)
        except docker.errors.APIError as error:
            raise UserError(
                f"cannot pull {base} ({error.explanation}): without access to a registry, pass a root "
                "filesystem with --from-tar (debootstrap --include=python3 SUITE DIR; tar -C DIR -cf FILE .)"
            ) from error
    return base


def _imported(
    engine: "docker.APIClient", root_filesystem: Path, name: str, say: Callable[[str], None]
) -> str:
    say(f"importing {root_filesystem}")
    repository, _, tag = name.partition(":")
    engine.import_image_from_file(str(root_filesystem), repository=f"{repository}-base", tag=tag)
    return f"{repository}-base:{tag}"


def _python_version(engine: "docker.APIClient", base: str) -> str:
    """Such as `3.11`."""
    program = "import sys; print('%d.%d' % sys.version_info[:2])"
    host = engine.create_host_config(network_mode="none")
    container = engine.create_container(base, ["python3", "-I", "-S", "-c", program], host_config=host)
    try:
        engine.start(container)
        engine.wait(container)
        said: bytes = engine.logs(container)
        return said.decode().strip()
    finally:
        engine.remove_container(container, force=True)


def _install(packages: Sequence[str], site: Path, python: str) -> None:
    """Put wheels for the image's Python into `site`. None of the packages' code is run."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as pins:
        for distribution in importlib.metadata.distributions():
            pins.write(f"{distribution.metadata['Name']}=={distribution.version}\n")
        pins.flush()
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        command += ["--no-compile", "--only-binary=:all:", "--target", str(site), "--constraint", pins.name]
        command += ["--python-version", python, "--implementation", "cp"]
        for minor in range(_NEWEST_GLIBC, _OLDEST_GLIBC - 1, -1):
            command += ["--platform", f"manylinux_2_{minor}_{platform.machine()}"]
        done = subprocess.run([*command, *packages], capture_output=True, text=True)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or [done.stderr]
        raise UserError(f"--package {' '.join(packages)}: pip says: {lines[-1].removeprefix('ERROR: ')}")


def _build(
    engine: "docker.APIClient",
    context: Path,
    name: str,
    base: str,
    labels: dict[str, str],
    say: Callable[[str], None],
) -> None:
    log: list[str] = []
    steps = engine.build(
        path=str(context), tag=name, buildargs={"BASE": base}, labels=labels, network_mode="none",
        rm=True, forcerm=True, decode=True,
    )  # fmt: skip
    for step in steps:
        if text := step.get("stream", "").strip():
            say(text)
            if not text.startswith(("Step ", "--->", "Removing ")):
                log.append(text)
        if "error" in step:
            # For a program that failed, the engine reports only the exit code; its output says more.
            reason = log[-1] if log and "non-zero code" in step["error"] else step["error"]
            raise UserError(f"cannot build {name} from {base}: {reason}")
