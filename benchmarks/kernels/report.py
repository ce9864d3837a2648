"""Figures as JSON, with the machine they were measured on, and as a table."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import peers
import torch

sys.path.append(str(Path(__file__).parents[1]))
from machine import machine

if TYPE_CHECKING:
    from benchmark import Cell, Target

RESULTS = Path(__file__).parents[1] / "results"


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--shapes", choices=("full", "tiny"), default="full")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the folder for the results")


def provenance(device: torch.device) -> dict[str, Any]:
    """The device, the machine around it, the date and the versions."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    described = machine("torch", "triton", "numpy")
    described["versions"] |= peers.versions()
    return {"device": name, "machine": described}


def judged(target: "Target", value: float | None) -> dict[str, Any]:
    """A target beside the measured value, if there is one."""
    met = None
    if value is not None:
        met = value >= target.limit if target.at_least else value <= target.limit
    return {
        "target": target.text,
        "limit": target.limit / target.unit,
        "measured": None if value is None else value / target.unit,
        "met": met,
    }


def line(cell: "Cell") -> str:
    head = f"{cell.tokens:6} x {cell.hidden:4}  {cell.phase:17}{cell.contestant:14}"
    if cell.error is not None:
        return f"{head}{cell.error}"
    peak = "" if cell.peak_bytes is None else f"{cell.peak_bytes / 2**20:10.1f} MiB"
    rate = (
        f"{cell.flop_per_second / 1e12:8.1f} TFLOP/s"
        if cell.flop_per_second
        else f"{(cell.bytes_per_second or 0) / 1e9:8.0f} GB/s"
    )
    return f"{head}{(cell.seconds or 0) * 1e6:12.1f} us{rate} {cell.fraction or 0:6.1%} of ceiling{peak}"


def show(results: dict[str, Any]) -> None:
    """The text below the cells, which were printed as they came."""
    print(f"\n{results['operator']} on {results['device']}: {results['summary']}")
    for name, rate in results["ceilings"].items():
        print(f"ceiling: {name}: {rate:.4g}")
    for row in results["differences"]:
        apart = ", ".join(f"{k} {x:.1e}" for k, x in row.items() if isinstance(x, float))
        print(f"apart from ours at {row['tokens']} x {row['hidden']}: {row['contestant']}: {apart}")
    for name in results["left_out"]:
        print(f"left out: {name}")
    for t in results["targets"]:
        measured = "not measured" if t["measured"] is None else f"{t['measured']:.4g}"
        verdict = {True: "met", False: "MISSED", None: "unanswered"}[t["met"]]
        print(f"target: {t['target']}: {measured}, asked {t['limit']:g}: {verdict}")


def write(results: dict[str, Any], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"kernels-{results['operator']}.json"
    path.write_text(json.dumps(results, indent=1) + "\n")
    print(f"written to {path}\n", flush=True)
