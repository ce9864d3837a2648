"""A conversation: the same ids whether they were sampled or demonstrated."""

from collections.abc import Sequence
from typing import Any

from ludus.agents.conversation import Conversation
from ludus.agents.formats.base import Prompt
from ludus.envs.chat import Chat, assistant, user


class Bytes:
    """Ids are bytes, 256 ends a reply; the message "fork" has the history rendered anew, backwards."""

    stop_ids = (256,)
    context: tuple[int, ...] = ()

    def first_prompt(self, messages: Chat, tools: Sequence[Any] = ()) -> Prompt:
        return Prompt(tuple(b"".join(str(message["content"]).encode() for message in messages)), fork=True)

    def next_prompt(
        self, history: Chat, context: Sequence[int], added: Chat, tools: Sequence[Any] = ()
    ) -> Prompt:
        self.context = tuple(context)
        if added[0]["content"] == "fork":
            return Prompt(self.first_prompt([*history, *added][::-1]).ids, fork=True)
        return Prompt(self.first_prompt(added).ids, fork=False)


def conversation() -> Conversation:
    chat_format: Any = Bytes()
    return Conversation(chat_format)


def test_ids_are_appended_as_they_were_sampled() -> None:
    heard, prompt = conversation().hear([user("a"), user("b")])
    assert (prompt, heard.context) == (Prompt((97, 98), fork=False), (97, 98))
    said = heard.say(assistant("c"), (199, 256))
    later, prompt = said.hear([user("d")])
    assert (prompt, later.context) == (Prompt((100,), fork=False), (97, 98, 199, 256, 100))
    assert [message["content"] for message in later.messages] == ["a", "b", "c", "d"]


def test_a_fork_begins_anew_and_leaves_what_came_before() -> None:
    said = conversation().hear([user("a")])[0].say(assistant("c"), (199, 256))
    forked, prompt = said.hear([user("fork")])
    assert (prompt.fork, forked.context) == (True, tuple(b"forkca"))
    other, _ = said.hear([user("d")])
    assert other.context == (97, 199, 256, 100)
    assert len(said.messages) == 2
