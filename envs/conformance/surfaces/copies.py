"""Copies: before every step the environment is pickled, and the copy goes on."""

import pickle
from collections.abc import Mapping
from typing import Any

from ludus.envs.conformance.surfaces.surface import DirectSession, Seen, Session, Surface, make_chat


class Copies(Surface):
    """Every step is made by a copy that came out of a pickle, as in the processes of a cluster."""

    name = "copies"
    connects = False

    def open(self, id: str, arguments: Mapping[str, Any]) -> Session:
        return _Copied(make_chat(id, arguments))


class _Copied(DirectSession):
    def step(self, reply: Any) -> Seen:
        copied = pickle.loads(pickle.dumps(self.env))
        self.env.close()
        self.env = copied
        return super().step(reply)
