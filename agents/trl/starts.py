"""`dataset`: the starts of an environment as a dataset for TRL."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ludus.agents.trl.installed import require_trl
from ludus.envs.chat import Chat, content_text
from ludus.envs.conformance.surfaces.surface import make_chat
from ludus.tools.errors import UserError

if TYPE_CHECKING:
    from datasets import Dataset

KEY = "seed"
"""The key of a prompt's first message that says which start it is: TRL's `rollout_func` is given no columns,
but whole messages."""


def dataset(id: str, seeds: Iterable[int], /, **arguments: Any) -> "Dataset":
    """One row for each seed, whose `prompt` is how the environment begins there. TRL repeats a row for the
    members of a group, which so share their start.

    Args:
        id: the environment's id.
        seeds: of the starts.
        arguments: keyword arguments of the environment.

    Raises:
        UserError: TRL is not installed, or of another version; the environment is not a chat.
    """
    require_trl()
    from datasets import Dataset

    env = make_chat(id, arguments)
    try:
        return Dataset.from_list([{"prompt": _prompt(env.reset(seed=seed)[0], seed)} for seed in seeds])
    finally:
        env.close()


def seed_of(prompt: Any) -> int:
    """
    Raises:
        UserError: the prompt does not say which start it is.
    """
    first = prompt[0] if isinstance(prompt, list) and prompt else None
    seed = first.get(KEY) if isinstance(first, Mapping) else None
    if not isinstance(seed, int):
        raise UserError(
            f"a prompt's first message has no {KEY!r}, so nobody knows which episode it begins: make the "
            "dataset by ludus.agents.trl.dataset, or write the key into it"
        )
    return seed


def refuse_other_start(id: str, prompt: Any, messages: Chat) -> None:
    """
    Raises:
        UserError: the model was shown another beginning than the environment's.
    """
    shown = [(message["role"], message["content"]) for message in prompt]
    if shown != [(message["role"], content_text(message)) for message in messages]:
        raise UserError(
            f"the dataset's prompt is not how {id} begins with seed {seed_of(prompt)}: make the dataset with "
            "the same arguments as the environment"
        )


def _prompt(messages: Chat, seed: int) -> list[dict[str, Any]]:
    prompt = [{"role": message["role"], "content": content_text(message)} for message in messages]
    return [{**prompt[0], KEY: seed}, *prompt[1:]]
