"""Amounts of memory: what is free, and how a person writes it."""

import os
import re
from pathlib import Path

import torch

from ludus.trainers.errors import ConfigError

_UNITS = {"B": 1, **{f"{letter}iB": 2 ** (10 * power) for power, letter in enumerate("KMGT", 1)}}
_UNITS |= {f"{letter}B": 10 ** (3 * power) for power, letter in enumerate("KMGT", 1)}
_AMOUNT = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?i?B)")
_GROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)
"""What a container may use and uses, in cgroups of version 2 and 1."""


def read_amount(text: str) -> int:
    """Bytes, of a text such as `24GiB`, `16.5 GB` or `800MiB`.

    Raises:
        ConfigError: it is no amount, or nothing.
    """
    found = _AMOUNT.fullmatch(text.strip())
    if found is None or found[2] not in _UNITS or not float(found[1]):
        raise ConfigError(f'"{text}" is not an amount of memory: write a number and a unit, such as 24GiB')
    return round(float(found[1]) * _UNITS[found[2]])


def free_bytes(device: str) -> int:
    """What a run could take now, on the device of its model.

    Raises:
        ConfigError: this machine has no such device.
    """
    if not device.startswith("cpu"):
        try:
            return int(torch.cuda.mem_get_info(device)[0])
        except (RuntimeError, AssertionError, ValueError) as error:
            raise ConfigError(
                f"model.device = {device}: this machine has none, so its memory is not known: say it, as in "
                "--memory 24GiB"
            ) from error
    free = _available()
    for limit, used in _GROUPS:
        if (most := _number(limit)) is not None:
            free = min(free, most - (_number(used) or 0))
    return free


def mebibytes(size: float) -> str:
    return f"{size / 2**20:,.0f}"


def _available() -> int:
    info = Path("/proc/meminfo")
    if info.exists():
        for line in info.read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _number(file: str) -> int | None:
    """None where there is no such file, or no limit."""
    path = Path(file)
    text = path.read_text(encoding="ascii").strip() if path.is_file() else ""
    return int(text) if text.isdecimal() else None
