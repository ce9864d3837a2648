"""Unified diffs: difflib's output is applied exactly; models' mistakes are corrected or explained."""

import contextlib
import difflib

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ludus.envs.code.repair.patch import apply_patch
from ludus.tools.errors import ToolError

FILE = "one\ntwo\nthree\nfour\nfive\nsix\nseven\n"
CHANGE = """--- a/f.py
+++ b/f.py
@@ -2,3 +2,3 @@
 two
-three
+drei
 four
"""

lines = st.lists(st.text("ab c", max_size=4), max_size=14)


@given(lines, lines, st.integers(0, 3))
def test_applies_what_difflib_writes(old: list[str], new: list[str], context: int) -> None:
    assume(old != new)
    before, after = ("".join(f"{line}\n" for line in some) for some in (old, new))
    patch = "".join(
        difflib.unified_diff(before.splitlines(True), after.splitlines(True), "a/f.py", "b/f.py", n=context)
    )
    assert apply_patch({"f.py": before, "g.py": "x\n"}, patch) == {"f.py": after, "g.py": "x\n"}


@given(lines, lines, lines)
def test_finds_the_place_where_lines_were_added_before(
    old: list[str], new: list[str], added: list[str]
) -> None:
    assume(old != new)
    marked, after = (["start", *some, "end"] for some in (old, new))
    patch = "".join(
        difflib.unified_diff(
            [f"{line}\n" for line in marked], [f"{line}\n" for line in after], "f.py", "f.py", n=99
        )
    )
    shifted = "".join(f"{line}\n" for line in [*added, *marked])
    assert apply_patch({"f.py": shifted}, patch)["f.py"] == "".join(f"{line}\n" for line in [*added, *after])


@pytest.mark.parametrize(
    "patch",
    [
        CHANGE,
        CHANGE.replace("-2,3 +2,3", "-200,9 +1,1"),
        CHANGE.replace("@@ -2,3 +2,3 @@", "@@"),
        CHANGE.replace("@@ -2,3 +2,3 @@", "@@ -2,3 +2,3 @@ def f():"),
        CHANGE.replace("a/", "").replace("b/", ""),
        CHANGE.replace(" two\n", " two   \n"),
        CHANGE.replace("\n", "\r\n"),
        CHANGE.rstrip("\n"),
        CHANGE + "\\ No newline at end of file\n",
        f"```diff\n{CHANGE}```\n",
        f"Here it is:\ndiff --git a/f.py b/f.py\nindex 12..34 100644\n{CHANGE}\n\n",
        CHANGE.replace("--- a/f.py", "--- a/f.py\t2020-01-01 00:00:00"),
    ],
)
def test_forgives_what_does_not_matter(patch: str) -> None:
    assert apply_patch({"f.py": FILE}, patch) == {"f.py": FILE.replace("three", "drei")}


def test_context_keeps_the_blanks_of_the_file() -> None:
    assert apply_patch({"f.py": FILE.replace("two", "two ")}, CHANGE)["f.py"].startswith("one\ntwo \ndrei\n")


def test_empty_lines_of_a_hunk_are_context_and_those_behind_it_are_not() -> None:
    patch = "--- f.py\n+++ f.py\n@@ -1,3 +1,3 @@\n a\n\n-b\n+c\n\n"
    assert apply_patch({"f.py": "a\n\nb\nd\n"}, patch) == {"f.py": "a\n\nc\nd\n"}


def test_several_files_new_ones_and_removed_ones() -> None:
    patch = (
        f"{CHANGE}--- /dev/null\n+++ b/new/g.py\n@@ -0,0 +1,2 @@\n+a\n+b\n"
        "--- a/old.py\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n"
    )
    after = apply_patch({"f.py": FILE, "old.py": "x\n"}, patch)
    assert after == {"f.py": FILE.replace("three", "drei"), "new/g.py": "a\nb\n"}


def test_lines_that_look_like_headers() -> None:
    patch = "--- f.py\n+++ f.py\n@@ -1,2 +1,1 @@\n--- comment\n x\n"
    assert apply_patch({"f.py": "-- comment\nx\n"}, patch) == {"f.py": "x\n"}


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        ("", "no patch"),
        ("three -> drei", "no patch"),
        ("@@ -1 +1 @@\n-a\n+b\n", "a hunk without a file"),
        ("--- a/f.py\n+++ b/f.py\n", "no hunk"),
        (CHANGE.replace("f.py", "g.py"), "no file 'g.py'"),
        (CHANGE.replace("-three", "-tree"), "line 3 is 'three', and not 'tree'"),
        ("--- f.py\n+++ f.py\n@@ -1 +1 @@\n-zero\n+0\n", "no line 'zero'"),
        (CHANGE.replace("-three", "three"), "begins with none of"),
        ("--- f.py\n+++ f.py\n@@ -1,1 +1,1 @@\n one\n", "changes nothing"),
        ("--- f.py\n+++ f.py\n@@\n+new\n", "give a line of context"),
        ("--- /dev/null\n+++ f.py\n@@ -0,0 +1 @@\n+new\n", "exists already"),
        ("--- f.py\n+++ /dev/null\n@@ -1 +0,0 @@\n-one\n", "not all of its lines"),
        ("--- /dev/null\n+++ /dev/null\n@@ -0,0 +1 @@\n+new\n", "changes nothing"),
        (f"--- f.py\n+++ f.py\n@@ -{'9' * 5000} +1 @@\n-one\n+uno\n", "no hunk"),
        ("--- f.py\n+++ f.py\n" + "@@ -1 +1 @@\n-one\n+uno\n" * 51, "too many"),
    ],
)
def test_says_what_is_wrong(patch: str, message: str) -> None:
    with pytest.raises(ToolError, match=message.replace("(", r"\(")):
        apply_patch({"f.py": FILE}, patch)


def test_asks_where_a_hunk_without_a_line_fits_twice() -> None:
    patch = "--- f.py\n+++ f.py\n@@\n-x\n+y\n"
    with pytest.raises(ToolError, match="lines 1, 3"):
        apply_patch({"f.py": "x\na\nx\n"}, patch)
    assert apply_patch({"f.py": "x\na\nx\n"}, patch.replace("@@", "@@ -3 +3 @@"))["f.py"] == "x\na\ny\n"


def test_all_or_nothing() -> None:
    files = {"f.py": FILE, "g.py": "x\n"}
    with pytest.raises(ToolError):
        apply_patch(files, f"{CHANGE}--- g.py\n+++ g.py\n@@ -1 +1 @@\n-y\n+z\n")
    assert files == {"f.py": FILE, "g.py": "x\n"}


@given(st.text("-+@ a/\n1,", max_size=60))
def test_never_breaks(patch: str) -> None:
    with contextlib.suppress(ToolError):
        after = apply_patch({"a": "a\n1\n", "1": ""}, f"--- a\n+++ a\n@@ -1 +1 @@\n{patch}")
        assert after != {"a": "a\n1\n", "1": ""} or "-" in patch
