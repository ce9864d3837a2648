"""Many programs in one pool, and what they leave: processes, descriptors, mounts, files, memory.

    python benchmarks/sandbox_soak.py [--runs 100000]

One program in fifty is hostile (a daemonised grandchild, a fork bomb, a flood of output, files in every
writable place, a segmentation fault, an endless loop). Before and after, the owner's descriptors, its
resident memory and that of the fork servers, and the host's processes, mounts, cgroups and temporary files
are counted. Prints a table and writes `benchmarks/results/sandbox-soak.json`; exits with 1 if anything grew.
"""

import argparse
import json
import os
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from machine import machine

from ludus.tools.sandbox import Limits, SandboxPool, Verdict

RESULTS = Path(__file__).parent / "results" / "sandbox-soak.json"
THREADS, EVERY, GROWTH = 4, 50, 10 << 20
LIMITS = Limits(wall_s=0.5, cpu_s=0.05, processes=16)
HOSTILE = (
    "import os, time\nif os.fork() == 0:\n  os.setsid()\n  if os.fork() == 0: time.sleep(60)\n  os._exit(0)",
    "import os\nwhile True: os.fork()",
    "while True: print('x' * 1000)",
    "for place in ('/tmp', '/dev/shm', '.'): open(place + '/left', 'wb').write(b'x' * 100_000)",
    "import os; os.kill(os.getpid(), 11)",
    "while True: pass",
)


def resident(process: int | str) -> int:
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def servers() -> list[int]:
    """The fork servers of this process, identified by their command line alone."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            if Path(f"/proc/{name}/cmdline").read_bytes().startswith(b"/python/bin/python3\0"):
                status = Path(f"/proc/{name}/status").read_text()
                # The first in its own namespace; waiting forks have other numbers there.
                if status.split("NSpid:")[1].split("\n")[0].split()[-1] == "1":
                    found.append(int(name))
        except OSError:
            continue
    return found


def count() -> dict[str, int]:
    return {
        "owner descriptors": len(os.listdir("/proc/self/fd")),
        "owner memory": resident("self"),
        "servers": len(servers()),
        "server memory": max(map(resident, servers()), default=0),
        "processes": sum(map(str.isdigit, os.listdir("/proc"))),
        "mounts": len(Path("/proc/self/mountinfo").read_text().splitlines()),
        "cgroups": sum(
            name.startswith("ludus-") for _, names, _ in os.walk("/sys/fs/cgroup") for name in names
        ),
        "temporary files": len(os.listdir(tempfile.gettempdir())),
        "shared memory files": len(os.listdir("/dev/shm")),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=100_000)
    runs = parser.parse_args().runs
    verdicts = {verdict.value: 0 for verdict in Verdict}
    lock = threading.Lock()
    with SandboxPool(THREADS, "process", LIMITS) as pool:

        def work(numbers: range) -> None:
            for number in numbers:
                if number % EVERY:
                    result = pool.run(f"print({number})", limits=replace(LIMITS, cpu_s=2.0, wall_s=2.0))
                    if result.stdout != f"{number}\n":
                        raise RuntimeError(f"program {number} failed: {result}")
                else:
                    result = pool.run(HOSTILE[number // EVERY % len(HOSTILE)])
                with lock:
                    verdicts[result.verdict.value] += 1

        def spread(numbers: range) -> None:
            threads = [threading.Thread(target=work, args=(numbers[i::THREADS],)) for i in range(THREADS)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

        spread(range(2000))  # after this, everything made only once exists
        verdicts.update(dict.fromkeys(verdicts, 0))
        before = count()
        begun = time.perf_counter()
        spread(range(runs))
        seconds = time.perf_counter() - begun
        after = count()
    time.sleep(1)
    closed = count()
    grown = [
        name for name in before
        if after[name] > before[name] + (GROWTH if name.endswith("memory") else 0)
    ]  # fmt: skip
    result: dict[str, Any] = {
        "runs": sum(verdicts.values()),
        "seconds": seconds,
        "programs_per_s": runs / seconds,
        "verdicts": verdicts,
        "before": before,
        "after": after,
        "pool closed": closed,
        "grown": grown,
        **machine(),
    }
    for name in before:
        print(f"{name:20} {before[name]:>12,} {after[name]:>12,} {closed[name]:>12,}")
    print(f"{runs} programs in {seconds:.0f} s, {verdicts}, grown: {grown or 'nothing'}")
    RESULTS.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"written to {RESULTS}")
    if grown or sum(verdicts.values()) != runs:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
