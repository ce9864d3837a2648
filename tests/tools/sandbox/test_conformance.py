"""The conformance suite: every backend that isolates passes it, and one that does not is exposed."""

import os
import signal
import subprocess
import sys
import time
import warnings
from dataclasses import replace

import pytest

from ludus.cli import main
from ludus.tools.errors import UserError
from ludus.tools.sandbox import Result, Sandbox, SandboxFault, Value, Verdict
from ludus.tools.sandbox.backends import GUARANTEES
from ludus.tools.sandbox.conformance import ATTACKS, LIMITS, Attack, check
from ludus.tools.sandbox.conformance import attack as words
from ludus.tools.sandbox.conformance.host import Host, left_behind, owned

from .conftest import opened

EVERY = [attack for attacks in ATTACKS.values() for attack in attacks]


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["process", "docker"])
def test_a_sandbox_holds(backend):
    opened(backend).close()
    told = []
    report = check(backend, on_outcome=told.append)
    assert report.passed, report
    assert tuple(told) == report.outcomes
    assert len(report.outcomes) == len(EVERY) + 1


def test_attacks_are_told_apart_and_need_what_there_is():
    names = [attack.name for attack in EVERY]
    assert len(names) == len(set(names)) > 80
    assert not set(names) & set(ATTACKS)
    assert {need for attack in EVERY for need in attack.needs} <= set(GUARANTEES)
    assert {attack.how for attack in EVERY} == {"run", "call", "session", "pair"}
    for attack in EVERY:
        compile(attack.code, attack.name, "exec")


@pytest.mark.filterwarnings("ignore:the sandbox 'subprocess' isolates nothing")
def test_a_sandbox_that_isolates_nothing_is_found_out():
    wrong = {
        "writing outside the work directory": "it changed a file of the host",
        "sockets": "it reached a port of the host",
        "sockets by ctypes": "it has a socket of family 2",
        "files of the host": "found a secret",
        "/proc walking": "found a secret",
        "clock and hostname as information": "it knows the host's name",
        "two guests trying to see each other": "connected to its neighbour",
        "fork bomb": "not made, since it would harm this machine",
        "memory hog": "not made, since it would harm this machine",
        "kill scan": "not made, since it would harm this machine",
        "disk fill": "not made, since it would harm this machine",
        "mount": "not made, since it would harm this machine",
    }
    report = check("subprocess", only=wrong)
    found = {outcome.attack: outcome for outcome in report.outcomes}
    assert not report.passed
    for name, said in wrong.items():
        assert not found[name].passed
        assert said in found[name].detail, (name, found[name].detail)
    assert "FAILED  sockets" in str(report)


class Broken:
    """A sandbox of `process` with one defect."""

    isolation: dict[str, str] = {}  # noqa: RUF012 (as `Sandbox` has it)

    def __init__(self):
        self.inner = Sandbox.open("process", LIMITS)

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class AlwaysOk(Broken):
    """Reports success for whatever ended."""

    def run(self, *arguments, **options):
        return replace(self.inner.run(*arguments, **options), verdict=Verdict.OK)


class KeepsFiles(Broken):
    """Does not empty the work directory."""

    def reset(self):
        pass


class FollowsLinks(Broken):
    """Collects files as the host sees them."""

    def run(self, code, stdin="", files_out=(), limits=None):
        return replace(self.inner.run(code, stdin, (), limits), files=dict.fromkeys(files_out, b"root:x:0:0"))


class Leaks(Broken):
    """Leaks a descriptor and a file with every program."""

    def run(self, *arguments, **options):
        os.dup(0)
        return self.inner.run(*arguments, **options)


class Believes(Broken):
    """Takes values as the guest's own objects, and errors for values."""

    def call(self, *arguments, **options):
        called = self.inner.call(*arguments, **options)
        return replace(called, values=[*called.values, Value(object())])


class Faulty(Broken):
    """Breaks."""

    def run(self, *arguments, **options):
        raise SandboxFault("no more descriptors")


class Slow(Broken):
    """Waits for what ended long ago."""

    def run(self, *arguments, **options):
        result = self.inner.run(*arguments, **options)
        return replace(result, seconds=result.seconds + 2)


class Unbounded(Broken):
    """Gives back all output."""

    def run(self, *arguments, **options):
        result = self.inner.run(*arguments, **options)
        return replace(result, stdout=result.stdout * 100)


class Telling(Broken):
    """Puts the host's environment into the guest's."""

    def run(self, code, *arguments, **options):
        return self.inner.run(
            f"import os; os.environ.update({dict(os.environ)!r})\n{code}", *arguments, **options
        )


@pytest.mark.parametrize(
    ("kind", "attack", "said"),
    [
        (AlwaysOk, "sleep", "ok"),
        (AlwaysOk, "forged result messages, then a loop", "ok"),
        (KeepsFiles, "a folder too deep and one locked", "a harmless program after it"),
        (KeepsFiles, "a guest before this one", "found a secret"),
        (FollowsLinks, "symlink escape in collected files", "the file 'link' came back"),
        (Leaks, "sys.exit(0)", "descriptors, and held"),
        (Believes, "objects that are equal to everything", "values of 3 calls"),
        (Believes, "os._exit(0)", "a value, though nothing was computed"),
        (Faulty, "sys.exit(0)", "the sandbox broke: no more descriptors"),
        (Slow, "a child that keeps the pipes open", "though it ended at once"),
        (Unbounded, "output flood", "more output came back"),
        (Telling, "environment variables", "found a secret"),
    ],
)
def test_every_defect_is_found(kind, attack, said):
    opened("process").close()
    outcome = check(kind, only=[attack]).outcomes[0]
    assert not outcome.passed
    assert said in outcome.detail


def test_what_is_left_on_the_host_is_seen_and_cleared():
    mark = "lc0123456789ab"
    program = (
        f"import ctypes, time\nctypes.CDLL(None).prctl(15, b'{mark}')\nprint(flush=True)\ntime.sleep(60)"
    )
    with Host() as host:
        before = host.facts()
        assert host.inspect(before, mark) == []
        process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.DEVNULL)
        (host.folder / "note").write_text("here")
        host.precious.write_text("changed")
        host.victim.send_signal(signal.SIGSTOP)
        time.sleep(0.5)
        found = "; ".join(host.inspect(before, mark))
        for what in ("1 of its processes", "it left note", "changed a file", "stopped a process"):
            assert what in found
        assert process.wait(5) == -signal.SIGKILL
        host.victim.kill()
        host.victim.wait()
        assert host.inspect(before, mark) == ["it killed a process of the host"]
        assert host.inspect(before, mark) == []
        folder = host.folder
        assert host.secret in os.environ.values()
    assert not folder.exists()
    assert host.secret not in os.environ.values()
    known = owned()
    assert left_behind(known) == []
    with opened("process"):
        assert (left_behind(known) != []) == (owned() != known)


def test_values_are_plain_by_exact_type():
    class Equal(int):
        def __eq__(self, other):
            return True

    assert words.is_json({"a": [1, 2.5, None, True, "x"]})
    for strange in (Equal(7), [Equal(7)], {"a": object()}, (1,), {1: {"b": b""}}):
        assert not words.is_json(strange)


def test_only_what_there_is():
    with pytest.raises(UserError, match="no attack or topic 'fork bmob'"):
        check("process", only=["fork bmob"])


def test_the_command(capsys):
    opened("process").close()
    assert main(["sandbox", "check", "--backend", "process", "--only", "sys.exit(0)"]) == 0
    assert "process: holds, 2 checks" in capsys.readouterr().out
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        assert main(["sandbox", "check", "--backend", "subprocess", "--only", "sockets"]) == 1
    said = capsys.readouterr().out
    assert "FAILED" in said
    assert "subprocess: 1 of 2 checks failed" in said


def test_attacks_are_data():
    attack = Attack("mine", "print('ESCAPED: so far')", (Verdict.OK,))
    assert attack == replace(attack)
    assert attack.judge(words.Evidence((Result(Verdict.OK, 0, None, "", ""),), (), LIMITS, "here", 0.1)) == ""


def test_sandboxes_of_others_in_this_process_are_not_taken_for_leftovers():
    with opened("process"):
        assert check("process", only=["sys.exit(0)"]).passed
