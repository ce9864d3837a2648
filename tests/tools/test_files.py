import os
import stat

import pytest

from ludus.tools.files import (
    cache_directory,
    remove_folder,
    replacing_file,
    replacing_folder,
    sweep,
    write_file,
)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced_whole(tmp_path):
    target = write_file(tmp_path / "a.txt", "old")
    assert write_file(target, "grüße").read_text(encoding="utf-8") == "grüße"
    assert write_file(target, b"\x00\xff").read_bytes() == b"\x00\xff"
    assert names(tmp_path) == ["a.txt"]


def test_a_file_stays_when_its_writer_fails(tmp_path):
    target = write_file(tmp_path / "a.txt", "old")
    with pytest.raises(ZeroDivisionError), replacing_file(target) as scratch:
        scratch.write_text(f"half {1 / 0}")
    assert target.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_an_error_names_the_target(tmp_path):
    with pytest.raises(OSError, match=r"a\.txt") as error:
        write_file(tmp_path / "missing" / "a.txt", "x")
    assert error.value.filename == str(tmp_path / "missing" / "a.txt")


def test_a_folder_is_replaced_whole(tmp_path):
    target = tmp_path / "model"
    for content in ("old", "new"):
        with replacing_folder(target) as scratch:
            (scratch / "weights").write_text(content)
    assert (target / "weights").read_text() == "new"
    with pytest.raises(ZeroDivisionError), replacing_folder(target) as scratch:
        (scratch / "weights").write_text(f"half {1 / 0}")
    assert (target / "weights").read_text() == "new"
    assert names(tmp_path) == ["model"]
    remove_folder(target)
    remove_folder(target)
    assert names(tmp_path) == []


def test_what_a_killed_process_left_is_swept(tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / ".a.txt.123.partial").write_text("half")
    (tmp_path / ".model.123.removed").mkdir()
    (tmp_path / ".model.123.removed" / "weights").write_text("half")
    (tmp_path / ".kept").write_text("mine")
    sweep(tmp_path)
    assert names(tmp_path) == [".kept", "inner"]
    assert names(tmp_path / "inner") == []


def test_caches_lie_where_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("LUDUS_TEST_CACHE", raising=False)
    assert cache_directory("models", "LUDUS_TEST_CACHE") == tmp_path / "ludus" / "models"
    monkeypatch.setenv("LUDUS_TEST_CACHE", str(tmp_path / "own"))
    assert cache_directory("models", "LUDUS_TEST_CACHE") == tmp_path / "own"


def test_caches_fall_back_where_home_cannot_be_written(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = cache_directory("models")
    assert cache_directory("models") == folder == tmp_path / f"ludus-{os.getuid()}" / "models"
    (told,) = [record.getMessage() for record in caplog.records]
    wanted = tmp_path / "file" / "ludus" / "models"
    assert told == f"{wanted} cannot be written to (Not a directory): {folder} is the cache instead"
    assert stat.S_IMODE(folder.parent.stat().st_mode) == 0o700
    monkeypatch.setenv("LUDUS_TEST_CACHE", str(tmp_path / "file" / "own"))
    with pytest.raises(OSError):  # noqa: PT011
        cache_directory("models", "LUDUS_TEST_CACHE")


def test_a_fall_back_of_somebody_else_is_refused(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("os.getuid", lambda: 4321)
    (tmp_path / "ludus-4321").mkdir()
    with pytest.raises(PermissionError, match="another user"):
        cache_directory("models")
