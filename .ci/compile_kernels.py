"""Compiles every kernel for every target, without a GPU, and holds it to its gates. Prints a table.

Gates: no spilled registers; loads of 16 bytes (or TMA) in kernels that are bound by memory; HGMMA on sm_90 in
those bound by matrix products. `--json FILE` also writes the table.
"""

import argparse
import dataclasses
import importlib
import json
import sys
from pathlib import Path

import ludus.kernels
from ludus.kernels.compilation import TARGETS, Compiled, Specialisation, compile_for


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("operators", nargs="*", help="folders under kernels/; all of them by default")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rows, broken = [], []
    for operator in arguments.operators or operators():
        module = importlib.import_module(f"ludus.kernels.{operator}.triton")
        for target, gpu in TARGETS.items():
            for specialisation in module.specialisations(gpu.warp_size):
                if specialisation.target not in (None, target):
                    continue
                compiled = compile_for(target, specialisation)
                problems = violations(specialisation, compiled)
                rows.append(row(operator, specialisation, compiled))
                print(line(operator, specialisation, compiled, problems), flush=True)
                broken += problems
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")
    print(f"{len(rows)} compiled, {len(broken)} gates broken")
    return 1 if broken or not rows else 0


def operators() -> list[str]:
    folder = Path(ludus.kernels.__path__[0])
    return sorted(path.parent.name for path in folder.glob("*/triton.py"))


def violations(specialisation: Specialisation, compiled: Compiled) -> list[str]:
    found = []
    if compiled.spills:
        found.append(f"{compiled.spills} spills")
    if compiled.target.startswith("sm_"):
        counts = compiled.instructions
        if specialisation.wide_loads and not counts["LDG.E.128"] + counts["UTMALDG"]:
            found.append("no 16-byte load")
        if specialisation.matrix and compiled.target == "sm_90" and not counts["HGMMA"]:
            found.append("no HGMMA")
    return found


def row(operator: str, specialisation: Specialisation, compiled: Compiled) -> dict[str, object]:
    return {
        "operator": operator,
        "kernel": specialisation.kernel.__name__,
        "specialisation": specialisation.name,
        "num_warps": specialisation.num_warps,
    } | dataclasses.asdict(compiled)


def line(operator: str, specialisation: Specialisation, compiled: Compiled, problems: list[str]) -> str:
    counts = ", ".join(f"{name} {n}" for name, n in compiled.instructions.items() if n)
    return (
        f"{compiled.target:7} {operator}.{specialisation.kernel.__name__:18} {specialisation.name:32} "
        f"{compiled.registers:3} registers, {compiled.spills} spills, "
        f"{compiled.shared_bytes // 1024:3} KiB shared; {counts}"
        f"{''.join(f'  ** {problem}' for problem in problems)}"
    )


if __name__ == "__main__":
    sys.exit(main())
