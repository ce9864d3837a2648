"""This machine's Docker engine, and what can be wrong with it, in one line each."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib import metadata
from typing import TYPE_CHECKING

from ludus.tools.errors import UserError

if TYPE_CHECKING:
    import docker

REPOSITORY = "ludus-sandbox"
PACKAGES_LABEL = "ludus.packages"
"""The label of an image that lists its distributions, separated by commas."""
DEFAULT_ADDRESS = "unix:///var/run/docker.sock"
_TIMEOUT_S = 60


def image_name() -> str:
    """The image in which this version of Ludus runs guests."""
    return f"{REPOSITORY}:{metadata.version('ludus')}"


def canonical(distribution: str) -> str:
    """A distribution's name, normalized as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def engine_address() -> str:
    """Where the engine listens: `DOCKER_HOST`, or the usual place.

    Raises:
        UserError: it is on another machine, with which descriptors cannot be shared.
    """
    address = os.environ.get("DOCKER_HOST") or DEFAULT_ADDRESS
    if not address.startswith("unix://"):
        raise UserError(
            f"DOCKER_HOST={address!r}: the sandbox 'docker' shares descriptors with its containers and needs "
            "an engine on this machine: DOCKER_HOST=unix:///PATH/docker.sock (or use LUDUS_SANDBOX=process)"
        )
    return address


def connect() -> "docker.APIClient":
    """A client of the engine; there is one for each process and address.

    Raises:
        UserError: the Docker SDK is missing, no engine answers, or this user may not talk to it.
    """
    return _connect(engine_address(), os.getpid())


@lru_cache(maxsize=4)
def _connect(address: str, process: int) -> "docker.APIClient":
    try:
        import docker
    except ModuleNotFoundError:
        raise UserError(
            "the sandbox 'docker' needs the Docker SDK, which is not installed: pip install 'ludus[code]'"
        ) from None
    path = address.removeprefix("unix://")
    try:
        client = docker.APIClient(base_url=address, version="auto", timeout=_TIMEOUT_S)
        client.ping()
    except docker.errors.DockerException as error:
        raise UserError(_why(path, error)) from error
    return client


def _why(path: str, error: Exception) -> str:
    where = f"the Docker engine at {path}"
    try:
        allowed = os.stat(path) and os.access(path, os.R_OK | os.W_OK)
    except PermissionError:  # a folder on the path
        allowed = False
    except OSError:
        return (
            f"no Docker engine: there is no {path}; start one (Debian, Ubuntu: apt install docker.io, then "
            "systemctl start docker), or name its socket with DOCKER_HOST=unix:///PATH/docker.sock"
        )
    if not allowed:
        return f"no permission to use {where}: add your user to its group (usually `docker`) and log in again"
    return f"{where} does not answer ({error}): is dockerd running?"


@contextmanager
def engine_errors(what: str, kind: type[Exception] = UserError) -> Iterator[None]:
    """Turn the engine's errors into one line: raises `kind` when it refuses or goes away."""
    import docker
    import requests

    try:
        yield
    except docker.errors.APIError as error:
        raise kind(f"{what}: the Docker engine says: {error.explanation or error}") from error
    except (docker.errors.DockerException, requests.RequestException) as error:
        raise kind(f"{what}: the Docker engine does not answer: {error}") from error
