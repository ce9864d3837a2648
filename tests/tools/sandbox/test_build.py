"""`ludus sandbox build`: what it makes, and its one-line errors."""

import io
import os
import re
import socket
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from ludus.cli import main
from ludus.tools.errors import UserError
from ludus.tools.sandbox import build, engine

Refused = Callable[..., str]


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Refused:
    """Calls `ludus sandbox build`, which must fail with one line, and returns that line."""

    def call(*words: object) -> str:
        assert main(["sandbox", "build", *map(str, words)]) == 1
        said = capsys.readouterr().err
        assert re.fullmatch(r"error: [^\n]+\n", said), said
        return said

    return call


def _tar(path: Path, names: tuple[str, ...] = ("etc",)) -> Path:
    with tarfile.open(path, "w") as archive:
        for name in names:
            entry = tarfile.TarInfo(name)
            entry.type = tarfile.DIRTYPE
            archive.addfile(entry)
    return path


# --- without an engine


def test_no_such_tar(refused: Refused, tmp_path: Path) -> None:
    assert f"there is no file {tmp_path / 'none.tar'}" in refused("--from-tar", tmp_path / "none.tar")


def test_a_file_that_is_no_tar(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_text("hello")
    assert "not a tar of a root filesystem" in refused("--from-tar", tmp_path / "a.tar")


def test_no_engine(refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    said = refused("--from-tar", _tar(tmp_path / "a.tar"))
    assert f"there is no {tmp_path}/none.sock" in said
    assert "DOCKER_HOST=" in said


def test_an_engine_elsewhere(refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://10.0.0.1:2375")
    said = refused("--from-tar", _tar(tmp_path / "a.tar"))
    assert "tcp://10.0.0.1:2375" in said
    assert "an engine on this machine" in said


def test_a_socket_that_is_no_engine(
    refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "s"
    monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def hang_up() -> None:
            while True:
                try:
                    listener.accept()[0].close()
                except OSError:
                    return

        threading.Thread(target=hang_up, daemon=True).start()
        said = refused("--from-tar", _tar(tmp_path / "a.tar"))
        listener.shutdown(socket.SHUT_RDWR)
    assert "does not answer" in said
    assert "is dockerd running?" in said


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: only root can become somebody else")
@pytest.mark.parametrize("mode", [0o700, 0o755])
def test_an_engine_that_is_not_for_this_user(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "run"
    folder.mkdir(mode=mode)
    path = folder / "s"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        path.chmod(0o660)
        for parent in [*tmp_path.parents][:-2]:
            if parent.stat().st_uid == 0 and parent.name.startswith("pytest"):
                parent.chmod(0o755)
        tmp_path.chmod(0o755)
        assert "no permission" in _as_nobody(f"unix://{path}")


def _as_nobody(address: str) -> str:
    """The message for a user without permission."""
    import docker  # noqa: F401  (in the fork its files may be out of reach)

    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
            os.environ["DOCKER_HOST"] = address
            engine.connect()
        except BaseException as error:
            os.write(writer, f"{type(error).__name__}: {error}".encode())
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader) as file:
        return file.read()


def test_a_second_word_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sandbox", "biuld"]) == 2
    assert "did you mean sandbox build?" in capsys.readouterr().err


# --- with one


@pytest.fixture
def own_image() -> str:
    """A name to build under, and the image and its base removed afterwards."""
    try:
        client = engine.connect()
    except UserError as error:
        (pytest.fail if "DOCKER_HOST" in os.environ else pytest.skip)(f"needs a Docker engine: {error}")
    name = f"ludus-sandbox-test-{os.getpid()}:0"
    yield name
    for each in (name, name.replace(":", "-base:")):
        if client.images(each):
            client.remove_image(each, force=True)


@pytest.fixture
def small_system(own_image: str, tmp_path: Path) -> Path:
    """A root filesystem with Python: that of the sandbox's own image."""
    client = engine.connect()
    if not client.images(engine.image_name()):
        pytest.skip(f"needs the image {engine.image_name()}: run `ludus sandbox build`")
    container = client.create_container(engine.image_name(), ["true"])
    path = tmp_path / "system.tar"
    try:
        with path.open("wb") as file:
            for chunk in client.export(container):
                file.write(chunk)
    finally:
        client.remove_container(container)
    return path


def test_an_image_from_a_root_filesystem(own_image: str, small_system: Path) -> None:
    said: list[str] = []
    assert build.build_image(root_filesystem=small_system, name=own_image, say=said.append) == own_image
    assert said
    client = engine.connect()
    image = client.inspect_image(own_image)
    assert image["Config"]["Labels"] == {engine.PACKAGES_LABEL: ""}
    assert image["Config"]["User"] == "65534:65534"
    program = "import os; print(os.readlink('/tmp'), os.path.isdir('/box'), os.path.isdir('/site'))"
    container = client.create_container(
        own_image, ["python3", "-c", program], host_config=client.create_host_config(network_mode="none")
    )
    try:
        client.start(container)
        assert client.wait(container)["StatusCode"] == 0
        assert client.logs(container) == b"/box/tmp True True\n"
    finally:
        client.remove_container(container)


def test_a_system_without_python_is_refused_in_one_line(own_image: str, tmp_path: Path) -> None:
    path = tmp_path / "empty.tar"
    with tarfile.open(path, "w") as archive:
        entry = tarfile.TarInfo("etc/hello")
        entry.size = 5
        archive.addfile(entry, io.BytesIO(b"hello"))
    with pytest.raises(UserError, match="python3") as caught:
        build.build_image(root_filesystem=path, name=own_image)
    assert "\n" not in str(caught.value).strip()
    assert not engine.connect().images(own_image)


def test_an_unknown_package_is_refused_in_one_line(own_image: str, small_system: Path) -> None:
    with pytest.raises(UserError, match="--package ludus-no-such-distribution: pip says"):
        build.build_image(["ludus-no-such-distribution"], small_system, own_image)
    assert not engine.connect().images(own_image)
