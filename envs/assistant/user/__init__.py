"""The user of an assistant: someone who wants something, and says more only when asked."""

from ludus.envs.assistant.user.automaton import Automaton
from ludus.envs.assistant.user.brief import Brief, User

__all__ = ["Automaton", "Brief", "User"]
