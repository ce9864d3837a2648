"""Landlock (see landlock(7)): a fence around guests that have a /proc and programs in their root.

A container always has a /proc, and its image has a shell. Behind the fence guests can open the interpreter,
its packages, a few devices and the work directory, and can run only the interpreter.
"""

import ctypes
import glob
import os
import struct
import sys

_CREATE, _ADD, _RESTRICT = 444, 445, 446
_EXECUTE, _WRITE, _READ, _READ_FOLDER, _TRUNCATE = 1, 1 << 1, 1 << 2, 1 << 3, 1 << 14
_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1}
"""All rights on files, by the interface version that introduced the last of them."""
_READABLE = (
    *("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/site"),
    *("/etc/ld.so.cache", "/usr/share/zoneinfo", "/dev/random", "/dev/urandom"),
)
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full")
_LOADERS = ("/lib64/ld-linux*", "/lib/ld-linux*")

_syscall = ctypes.CDLL(None, use_errno=True).syscall


def version() -> int:
    """The version of Landlock here; 0 if there is none."""
    return max(0, _syscall(_CREATE, None, ctypes.c_size_t(0), 1))


def fence(work: str) -> int:
    """A descriptor of a ruleset under which only `work` can be changed."""
    every = _RIGHTS[min(version(), max(_RIGHTS))]
    attributes = struct.pack("Q", every)
    ruleset = _check(_syscall(_CREATE, attributes, ctypes.c_size_t(len(attributes)), 0), "create_ruleset")
    for path in _READABLE:
        _allow(ruleset, path, _READ | _READ_FOLDER)
    for path in _DEVICES:
        _allow(ruleset, path, (_READ | _WRITE | _TRUNCATE) & every)
    for path in (os.path.realpath(sys.executable), *(path for name in _LOADERS for path in glob.glob(name))):
        _allow(ruleset, path, _READ | _EXECUTE)
    _allow(ruleset, work, every & ~_EXECUTE)
    return ruleset


def enter(ruleset: int) -> None:
    """Put this process, and whatever it starts, behind the fence for good."""
    _check(_syscall(_RESTRICT, ruleset, 0), "restrict_self")


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:  # not every system has all of them
        return
    if not os.path.isdir(path):
        rights &= _EXECUTE | _WRITE | _READ | _TRUNCATE
    rule = struct.pack("=Qi", rights, place)
    _check(_syscall(_ADD, ruleset, 1, rule, 0), f"add_rule {path}")
    os.close(place)


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"landlock: {what}: {os.strerror(number)}")
    return result
