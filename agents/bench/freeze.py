"""Rewrite the frozen task lists: `python -m ludus.agents.bench.freeze [SUITE …]`.

Run it when an environment's tasks change, in the same commit, after raising its number in `tasks.EDITIONS`
and moving the old list to `tasks/earlier`: results on the old list are not comparable with those on the new
one, and the hash shows that. MathTool, which two suites share, is frozen alike in both.
"""

import sys
from pathlib import Path

from ludus.agents.bench.suites import SUITES, TASKS, obstacle
from ludus.agents.bench.tasks import make_tasks, write_tasks
from ludus.tools.errors import UserError

FOLDER = Path(__file__).resolve().parent / "tasks"


def freeze(name: str) -> str:
    """Freeze one suite; returns a line about it.

    Raises:
        UserError: one of its environments cannot run here.
    """
    for spec in SUITES[name]:
        if reason := obstacle(spec):
            raise UserError(f"{spec.id} cannot run here, and a list without it would not be {name}: {reason}")
    sets = [make_tasks(spec, TASKS) for spec in SUITES[name]]
    path = write_tasks(FOLDER / f"{name}.json", sets)
    return f"{path}: {sum(len(task_set.seeds) for task_set in sets)} tasks of {len(sets)} environments"


if __name__ == "__main__":
    for suite_name in sys.argv[1:] or SUITES:
        print(freeze(suite_name))
