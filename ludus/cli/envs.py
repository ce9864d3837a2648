"""`ludus envs`: what there is."""

from dataclasses import dataclass

import gymnasium

from ludus.cli.environments import environment_class, is_chat, task_line
from ludus.registration import environment_ids
from ludus.tools.errors import UserError


@dataclass(frozen=True)
class Envs:
    """List the environments: what the task is, how many turns an episode may have, how one talks to it."""

    def execute(self) -> int:
        from rich import box
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column("environment and task", ratio=1)
        table.add_column("turns", justify="right", no_wrap=True)
        table.add_column("interface", no_wrap=True)
        for id in environment_ids():
            try:
                env = gymnasium.make(id)
            except UserError as error:  # an extra that is not installed
                table.add_row(Text.assemble((id, "bold"), "\n", str(error)), "", "")
            else:
                about = Text.assemble((id, "bold"), "\n", task_line(environment_class(id)))
                table.add_row(about, str(getattr(env.unwrapped, "max_turns", "")), interface(env))
                env.close()
            table.add_section()
        console = Console()
        console.print(table)
        console.print(
            "[dim]chat: messages in, a reply out. native: arrays in, the number of an action out; vector: "
            "gym.make_vec steps many at once. Turns are the most that an episode has by default.[/]",
            highlight=False,
        )
        return 0


def interface(env: gymnasium.Env) -> str:
    """`chat` or `native`, and whether `gym.make_vec` has a form of its own."""
    if is_chat(env):
        return "chat"
    return "native, vector" if env.spec is not None and env.spec.vector_entry_point else "native"
