"""How many sampled tokens does a teacher save? On-policy distillation beside GRPO, from one primed student.

    python benchmarks/distillation.py [--seeds 10 11 12] [--folder runs/distillation]

The teacher is what `configs/arithmetic.toml` makes of a seed of its own. Each student is primed by the same
file with another seed, and goes on by that file's GRPO and by `configs/distill.toml`. Both are measured every
few steps on the same held-out tasks, on which the teacher's success is measured, too. Prints a table and
writes `benchmarks/results/distillation.json`: for each seed the tokens that a student had sampled when it
first had 95% of the teacher's success. The project's figure: distillation needs at most a fifth of GRPO's,
with every seed. A student that never gets there is counted with all its tokens, and told so.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path

from learning import Contestant, go_on, prime
from machine import machine

HERE = Path(__file__).parent
CONFIGS = HERE.parent / "configs"
OUT = HERE / "results" / "distillation.json"
TEACHER_SEED = 1000
SHARE, FACTOR = 0.95, 5
MEASURED = {"validation.tasks": "512", "evaluation.episodes": "512"}


@dataclass(frozen=True)
class Course:
    """Of one student."""

    seed: int
    tokens: list[int]
    """Sampled in training until each validation."""
    success: list[float]
    """In it."""
    final: float
    """On the tasks of the evaluation."""

    def reached(self, success: float) -> tuple[int, bool]:
        """The tokens when it first had so much, and whether it ever had."""
        for tokens, had in zip(self.tokens, self.success, strict=True):
            if had >= success:
                return tokens, True
        return self.tokens[-1], False


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[10, 11, 12])
    parser.add_argument("--folder", type=Path, default=Path("runs/distillation"))
    parser.add_argument(
        "--grpo", nargs="*", default=[], metavar="KEY=VALUE", help="changes to arithmetic.toml"
    )
    parser.add_argument(
        "--distill", nargs="*", default=[], metavar="KEY=VALUE", help="changes to distill.toml"
    )
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    folder, priming = arguments.folder, CONFIGS / "arithmetic.toml"
    grpo, distill = (
        dict(pair.split("=", 1) for pair in given) for given in (arguments.grpo, arguments.distill)
    )
    prime(priming, TEACHER_SEED, folder)
    go_on(Contestant("teacher", priming, grpo), TEACHER_SEED, folder)
    teacher = folder / f"teacher-{TEACHER_SEED}" / "models" / "final"
    contestants = (
        Contestant("grpo", priming, {"validation.every": "3", **MEASURED, **grpo}),
        Contestant(
            "distill",
            CONFIGS / "distill.toml",
            {"distillation.teacher": str(teacher), "validation.every": "2", **MEASURED, **distill},
        ),
    )
    courses: dict[str, list[Course]] = {contestant.name: [] for contestant in contestants}
    rows = []
    for seed in arguments.seeds:
        prime(priming, seed, folder)
        success = judged(teacher, seed, folder)
        row: dict[str, object] = {"seed": seed, "teacher": success}
        for contestant in contestants:
            go_on(contestant, seed, folder)
            course = read_course(folder / f"{contestant.name}-{seed}", seed)
            courses[contestant.name].append(course)
            row[contestant.name], row[f"{contestant.name}_reached"] = course.reached(SHARE * success)
        row["factor"] = row["grpo"] / row["distill"]  # type: ignore[operator]
        rows.append(row)
        print(told(row, courses))
    found = {
        "students": rows,
        "pays": all(row["distill_reached"] and row["factor"] >= FACTOR for row in rows),  # type: ignore[operator]
        "courses": {name: [asdict(course) for course in of] for name, of in courses.items()},
        "share": SHARE,
        **machine("torch", "transformers"),
    }
    print("at most a fifth of the tokens with every seed" if found["pays"] else "not with every seed")
    arguments.out.write_text(json.dumps(found, indent=1) + "\n")


def judged(teacher: Path, seed: int, folder: Path) -> float:
    """The teacher's success on the tasks on which the students of a seed are measured."""
    as_it_is = {"model.path": str(teacher), "model.small": "{}", "sft.steps": "0"}
    contestant = Contestant(
        "teacher-on",
        CONFIGS / "arithmetic.toml",
        # One step that changes next to nothing, since only a training run validates.
        {**as_it_is, **MEASURED, "grpo.steps": "1", "grpo.learning_rate": "1e-9", "validation.every": "1"},
    )
    go_on(contestant, seed, folder)
    return read_course(folder / f"{contestant.name}-{seed}", seed).success[-1]


def read_course(run: Path, seed: int) -> Course:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if line["phase"] == "grpo"]
    tokens = list(accumulate(round(step["sampled_tokens"]) for step in steps))
    measured = [
        (sampled, step) for sampled, step in zip(tokens, steps, strict=True) if "validation/success" in step
    ]
    return Course(
        seed,
        [sampled for sampled, _ in measured],
        [step["validation/success"] for _, step in measured],
        json.loads((run / "evaluation.json").read_text())["final"]["success"]["value"],
    )


def told(row: dict[str, object], courses: dict[str, Sequence[Course]]) -> str:
    each = [
        f"{name} {row[name]:>9,} tokens{'' if row[f'{name}_reached'] else ' and not there'} "
        f"(at the end {of[-1].final:.3f})"
        for name, of in courses.items()
    ]
    end = f"{row['factor']:.1f} times fewer"
    return "  ".join([f"seed {row['seed']}  teacher {row['teacher']:.3f}", *each, end])


if __name__ == "__main__":
    main()
