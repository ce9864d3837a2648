"""What the runner found: the differences between playing directly and through a surface."""

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from ludus.envs.conformance.surfaces.surface import Seen

FACTS = (
    "contents",
    "roles",
    "reward",
    "terms",
    "terminated",
    "truncated",
    "success",
    "task",
    "anchor",
    "tools",
)
"""What is compared: of the messages what they say and, apart, whose they are and in which form; the reward
and its terms; the flags; the keys of the task and of the state; the tools on offer."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One fact that came out otherwise."""

    episode: str
    """Which episode, in words."""
    turn: int
    """0 is the reset."""
    fact: str
    direct: str
    """As JSON."""
    through: str

    def __str__(self) -> str:
        where = f"{self.episode}, turn {self.turn}, {self.fact}"
        return f"{where}: {_short(self.through)}, directly {_short(self.direct)}"


@dataclass(frozen=True, slots=True)
class Comparison:
    """An environment, played directly and through a surface."""

    surface: str
    environment: str
    episodes: int = 0
    steps: int = 0
    """Replies that were said both ways."""
    differences: tuple[Difference, ...] = ()
    """Those that nothing explains."""
    left_out: Counter[str] = field(default_factory=Counter)
    """What cannot be compared, each with the reason, and how often it came up."""

    @property
    def same(self) -> bool:
        return not self.differences

    def __str__(self) -> str:
        verdict = "the same" if self.same else f"{len(self.differences)} differences"
        played = f"{self.episodes} episodes, {self.steps} steps"
        head = f"{self.environment} through {self.surface}: {verdict}, {played}"
        lines = [f"  differs: {difference}" for difference in self.differences]
        lines += [f"  left out {count} times: {why}" for why, count in sorted(self.left_out.items())]
        return "\n".join([head, *lines])


def facts(seen: Seen) -> dict[str, str]:
    """What was seen, fact by fact, as JSON: equal texts are equal byte for byte."""
    contents: list[Any] = []
    roles: list[Any] = []
    for message in seen.messages:
        content = message["content"]
        parts: Any = [{"type": "text", "text": content}] if isinstance(content, str) else content
        contents += parts
        form = "text" if isinstance(content, str) else len(parts)
        roles.append({**message, "content": form})
    values = {
        "contents": contents,
        "roles": roles,
        "reward": seen.reward,
        "terms": {name: float(value) for name, value in seen.terms.items()},
        "terminated": seen.terminated,
        "truncated": seen.truncated,
        "success": seen.success,
        "task": seen.task,
        "anchor": seen.anchor,
    }
    return {name: as_json(value) for name, value in values.items()}


def as_json(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _short(text: str) -> str:
    return text if len(text) <= 160 else f"{text[:80]} … {text[-70:]}"
