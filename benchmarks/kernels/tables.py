"""The results as tables for docs/kernels.md.

python benchmarks/kernels/tables.py [RESULT.json …]         # every kernels-*.json of the results by default
"""

import json
import sys
from pathlib import Path
from typing import Any

from report import RESULTS

GPUS = ("sm_90", "sm_100", "gfx942")


def main(paths: list[Path]) -> int:
    for path in paths or sorted(RESULTS.glob("kernels-*.json")):
        print(f"### {path.name}\n")
        print("\n".join(lines(json.loads(path.read_text()))), end="\n\n")
    return 0


def lines(results: Any) -> list[str]:
    match results:
        case list():
            return compiled(results)
        case {"verdicts": verdicts}:
            return adversarial(verdicts)
        case {"cells": _}:
            return measured(results)
        case _:
            return two_cores(results)


def measured(results: dict[str, Any]) -> list[str]:
    """Time, share of the ceiling and memory: a row per shape and phase, a column per contestant."""
    cells = results["cells"]
    names = list(dict.fromkeys(cell["contestant"] for cell in cells))
    rows: dict[tuple[int, int, str], dict[str, str]] = {}
    for cell in cells:
        row = rows.setdefault((cell["tokens"], cell["hidden"], cell["phase"]), {})
        row[cell["contestant"]] = cell["error"] or _figure(cell)
    table = [_row("M", "H", "", *names), _row(*["---"] * (3 + len(names)))]
    for (tokens, hidden, phase), row in rows.items():
        table.append(_row(f"{tokens:,}", f"{hidden:,}", phase, *(row.get(name, "") for name in names)))
    copied = results["ceilings"]["copy_bytes_per_second"] / 1e9
    versions = ", ".join(f"{name} {v}" for name, v in results["machine"]["versions"].items())
    where = f"{results['device']}, {results['machine']['date']}, {versions}"
    return [
        *table,
        "",
        f"{where}; a copy: {copied:,.0f} GB/s.",
        "",
        *_targets(results["targets"], "measured"),
    ]


def two_cores(results: dict[str, Any]) -> list[str]:
    table = [_row("", "seconds", "peak extra memory, MiB"), _row("---", "---", "---")]
    for r in results["results"]:
        figures = [r["error"], ""] if "error" in r else [f"{r['seconds']:.2f}", f"{r['peak_mib']:,.0f}"]
        table.append(_row(r["contestant"], *figures))
    return [*table, "", *_targets(results["targets"], "reached")]


def compiled(rows: list[dict[str, Any]]) -> list[str]:
    """Registers from least to most over the specialisations, and their spills in total."""
    kernels: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        kernels.setdefault((row["operator"], row["kernel"]), []).append(row)
    table = [_row("kernel", "compiled", *GPUS, "spills", "on sm_90"), _row(*["---"] * (4 + len(GPUS)))]
    for (operator, kernel), group in kernels.items():
        registers = []
        for gpu in GPUS:
            counts = [row["registers"] for row in group if row["target"] == gpu]
            registers.append("–".join(str(n) for n in sorted({min(counts), max(counts)})))
        counted = [row["instructions"] for row in group if row["target"] == "sm_90"]
        uses = [n for n in ("LDG.E.128", "UTMALDG", "HGMMA") if any(count[n] for count in counted)]
        spills = str(sum(row["spills"] for row in group))
        name = f"`{operator}.{kernel.removesuffix('_kernel')}`"
        table.append(_row(name, str(len(group)), *registers, spills, ", ".join(uses)))
    return table


def adversarial(verdicts: dict[str, dict[str, dict[str, str]]]) -> list[str]:
    """What is wrong: a row per input, a column per contestant."""
    names = list(dict.fromkeys(name for row in verdicts.values() for name in row))
    table = [_row("", *names), _row(*["---"] * (1 + len(names)))]
    for case, row in verdicts.items():
        cells = []
        for name in names:
            wrong = [f"{k} {v}" for k, v in row.get(name, {}).items() if v not in {"right", "finite"}]
            cells.append(", ".join(wrong) if wrong else "right" if name in row else "")
        table.append(_row(case, *cells))
    return table


def _figure(cell: dict[str, Any]) -> str:
    peak = "" if cell["peak_bytes"] is None else f", {cell['peak_bytes'] / 2**20:,.0f} MiB"
    return f"{cell['seconds'] * 1e6:,.1f} µs ({cell['fraction']:.0%}){peak}"


def _targets(targets: list[dict[str, Any]], key: str) -> list[str]:
    table = [_row("target", "asked", "measured", ""), _row(*["---"] * 4)]
    for t in targets:
        figure = "not measured yet" if t[key] is None else f"{t[key]:.3g}"
        verdict = {True: "met", False: "missed", None: ""}[t["met"]]
        table.append(_row(t["target"], f"{t['limit']:g}", figure, verdict))
    return table


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main([Path(name) for name in sys.argv[1:]]))
