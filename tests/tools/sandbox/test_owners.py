"""Who is dead, and what they left."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ludus.tools.sandbox.owners import Owner, leftovers, owned_name, owner_of

_TELL = "from ludus.tools.sandbox.owners import Owner; print(Owner.current(), flush=True); input()"


@pytest.fixture
def other() -> subprocess.Popen[str]:
    """A process that lives until its stdin is closed."""
    process = subprocess.Popen([sys.executable, "-c", _TELL], stdin=-1, stdout=-1, text=True)
    yield process
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()


def test_this_process_lives() -> None:
    me = Owner.current()
    assert me.pid == os.getpid()
    assert not me.is_dead()
    assert Owner.parse(str(me)) == me


def test_another_lives_until_it_has_ended(other: subprocess.Popen[str]) -> None:
    owner = Owner.parse(other.stdout.readline().strip())
    assert owner is not None
    assert owner.pid == other.pid
    assert not owner.is_dead()
    other.kill()
    os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)  # dead, and not yet taken by its parent
    assert owner.is_dead()
    other.wait()
    assert owner.is_dead()


def test_a_reused_number_is_another_process() -> None:
    me = Owner.current()
    assert replace(me, started=me.started - 1).is_dead()


def test_owners_of_earlier_boots_are_dead_and_those_of_other_namespaces_not_ours_to_judge() -> None:
    me = Owner.current()
    assert replace(me, boot="00000000").is_dead()
    assert not replace(me, namespace=me.namespace + 1, pid=2**22 - 1).is_dead()


def test_names_tell_their_owner_and_differ() -> None:
    me = Owner.current()
    first, two = owned_name(me, "box"), owned_name(me, "box")
    assert first != two
    assert owner_of(first) == owner_of(two) == me


@given(st.text())
def test_other_names_have_no_owner(name: str) -> None:
    assert owner_of(name) is None
    assert owner_of("ludus-" + name) is None


def test_leftovers_are_those_of_the_dead(tmp_path: Path) -> None:
    me = Owner.current()
    dead = replace(me, started=me.started - 1)
    left = tmp_path / owned_name(dead, "box")
    for path in (left, tmp_path / owned_name(me, "box"), tmp_path / "ludus-runs", tmp_path / "notes"):
        path.mkdir()
    assert leftovers(tmp_path) == [left]
    assert leftovers(tmp_path / "not there") == []
