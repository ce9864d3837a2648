"""Conversations that were not sampled from this model, as the ids that it would have seen and sampled."""

from dataclasses import replace

from ludus.agents.episode import Episode, StopReason, TrainingSequence, Turn
from ludus.agents.formats.base import ChatFormat, FormatError
from ludus.agents.rendering import render
from ludus.tools.errors import DataError
from ludus.trainers.data.dialogue import Dialogue


def dialogue_rows(
    dialogue: Dialogue, chat_format: ChatFormat, unknown_id: int | None = None
) -> list[TrainingSequence]:
    """A conversation as rows in which exactly the trained replies are marked as sampled.

    Args:
        unknown_id: What the tokenizer writes for text that it has no token for; None if it spells any text.

    Raises:
        DataError: the chat format cannot express it, or a reply has text that no token exists for.
    """
    # A record of an episode is what `render` takes; nothing but its turns matters here.
    episode = Episode("", {}, 0, "", dialogue.turns, StopReason.TERMINATED)
    try:
        rendered = render(episode, chat_format, dialogue.tools)
    except FormatError as error:
        raise DataError(f"{dialogue.place}: {error}") from None
    turns = []
    for index, turn in enumerate(rendered.turns):
        if index in dialogue.untrained:
            turn = _as_context(turn)
        elif unknown_id is not None and unknown_id in turn.completion_ids:
            raise DataError(
                f"{dialogue.place}: reply {index + 1} has text that the model's tokenizer has no token for: "
                f"{str(turn.reply['content'])[:60]!r}; leave it out, or take a model that can spell it"
            )
        turns.append(turn)
    rows = replace(rendered, turns=tuple(turns)).training_sequences()
    return [row for row in rows if any(row.sampled)]


def _as_context(turn: Turn) -> Turn:
    ids = (*turn.prompt_ids, *turn.completion_ids)
    return replace(turn, prompt_ids=ids, completion_ids=(), logprobs=())
