"""Version 2 of control groups as files: which folders are made, and what is written into them."""

import pytest

from ludus.tools.sandbox import Limits, cgroups


@pytest.fixture
def hierarchy(tmp_path, monkeypatch):
    """A version 2 tree in which this process's parent group delegates both controllers."""
    slice_ = tmp_path / "app.slice"
    (slice_ / "run.scope").mkdir(parents=True)
    (slice_ / "cgroup.subtree_control").write_text("cpu memory pids\n")
    (tmp_path / "cgroup.subtree_control").write_text("cpu\n")
    monkeypatch.setattr(cgroups, "ROOT", tmp_path)
    monkeypatch.setattr(cgroups, "own_cgroups", lambda: ["0::/app.slice/run.scope"])
    made = []

    class Watch:
        def watch(self, path):
            made.append(path)

        def unwatch(self, path):
            made.remove(path)

    monkeypatch.setattr(cgroups, "janitor", Watch)
    real = cgroups.Path.mkdir

    def mkdir(path, *rest, **named):
        real(path, *rest, **named)
        for name, text in {"memory.current": "1000", "memory.events": "low 0\noom_kill 2\n"}.items():
            (path / name).write_text(text)

    monkeypatch.setattr(cgroups.Path, "mkdir", mkdir)
    return slice_, made


def test_a_group_beside_ones_own_holds_memory_and_processes(hierarchy):
    slice_, made = hierarchy
    group = cgroups.enclose(41, Limits(processes=7))
    assert made == [group.memory] == [group.processes]
    assert group.memory.parent == slice_
    group.limit_memory(500)
    written = {name: (group.memory / name).read_text() for name in ("cgroup.procs", "pids.max", "memory.max")}
    assert written == {"cgroup.procs": "41", "pids.max": "8", "memory.max": "1500"}
    assert group.out_of_memory() == 2


def test_without_a_right_to_make_groups_there_is_none(tmp_path, monkeypatch):
    monkeypatch.setattr(cgroups, "ROOT", tmp_path)
    monkeypatch.setattr(cgroups, "own_cgroups", lambda: ["0::/session.scope", "4:memory:/"])
    group = cgroups.enclose(41, Limits())
    assert (group.memory, group.processes, group.out_of_memory()) == (None, None, 0)
    group.limit_memory(1)
    group.remove()
