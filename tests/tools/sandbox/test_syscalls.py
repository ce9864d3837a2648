"""The filter's tables: numbers as the kernel's headers have them, and nothing named without one."""

import re
from pathlib import Path

import pytest

from ludus.tools.sandbox.guest import syscalls

HEADERS = {
    "x86_64": ["x86_64-linux-gnu/asm/unistd_64.h", "asm/unistd_64.h"],
    "aarch64": ["asm-generic/unistd.h"],
}
ONLY_ON_X86 = {
    *("iopl", "ioperm", "modify_ldt", "mknod", "inotify_init", "ustat", "sysfs", "uselib"),
}


@pytest.mark.parametrize("machine", HEADERS)
def test_numbers_are_the_kernels(machine):
    files = [path for name in HEADERS[machine] if (path := Path("/usr/include") / name).exists()]
    if not files:
        pytest.skip(f"no kernel header with the system calls of {machine}: install linux-libc-dev")
    found = re.findall(r"#define __NR(?:3264)?_(\w+) (\d+)", files[0].read_text())
    known = {name: int(number) for name, number in found}
    ours = syscalls.numbers(machine)
    # Older headers lack the newest calls.
    assert {name: number for name, number in ours.items() if known.get(name, number) != number} == {}
    assert len(ours.keys() & known.keys()) > 100


@pytest.mark.parametrize("machine", HEADERS)
def test_every_refused_call_has_a_number(machine):
    refused = {*syscalls.FORBIDDEN, *syscalls.DENIED}
    missing = refused - syscalls.numbers(machine).keys()
    assert missing == (ONLY_ON_X86 if machine == "aarch64" else set())


def test_no_call_is_refused_twice():
    refused = [*syscalls.FORBIDDEN, *syscalls.DENIED]
    assert len(refused) == len(set(refused))
