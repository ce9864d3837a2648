"""`ludus envs`: the list of environments."""

from dataclasses import dataclass

import gymnasium

from ludus.cli.environments import environment_class, is_chat, task_line
from ludus.registration import environment_ids, foreign_ids
from ludus.tools.errors import UserError


@dataclass(frozen=True)
class Envs:
    """List the environments: the task, the most turns of an episode, and the interface."""

    def execute(self) -> int:
        from rich.console import Console
        from rich.padding import Padding
        from rich.text import Text

        console = Console()
        for id in (*environment_ids(), *foreign_ids()):
            try:
                env = gymnasium.make(id)
            except UserError as error:  # an extra that is not installed
                facts, about = "cannot run here", str(error)
            else:
                facts, about = describe(env), task_line(environment_class(id))
                env.close()
            # An id is there to be copied, so the terminal may wrap it but must not cut it.
            console.print(Text.assemble((id, "bold"), "  ", (facts, "dim")), soft_wrap=True)
            console.print(Padding(Text(about), (0, 0, 1, 4)))
        console.print(
            "[dim]chat: messages in, a reply out. native: arrays in, the number of an action out; vector: "
            "gym.make_vec steps many at once. Turns are the most that an episode has by default.[/]",
            highlight=False,
        )
        return 0


def describe(env: gymnasium.Env) -> str:
    """An environment's interface and length: `chat, at most 16 turns`."""
    turns = getattr(env.unwrapped, "max_turns", None)
    if turns is None:
        return interface(env)
    return f"{interface(env)}, {'one turn' if turns == 1 else f'at most {turns} turns'}"


def interface(env: gymnasium.Env) -> str:
    """`chat` or `native`, and whether there is a vectorised form for `gym.make_vec`."""
    if is_chat(env):
        return "chat"
    return "native, vector" if env.spec is not None and env.spec.vector_entry_point else "native"
