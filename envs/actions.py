"""The action of a reply: `<action>…</action>`, once, with any text around it."""

import re

_ACTION = re.compile(r"<action>(.*?)</action>", re.DOTALL)


def action(*words: object) -> str:
    """The reply that gives an action of these words."""
    return f"<action>{' '.join(map(str, words))}</action>"


def read_action(text: str) -> tuple[str | None, str]:
    """What stands in a reply's only action, found in linear time; None, and what is wrong with the reply."""
    # Up to the last end only: looking for one behind it, once for every tag, would take quadratic time.
    found = _ACTION.findall(text, 0, text.rfind("</action>") + len("</action>"))
    if len(found) != 1:
        return None, "No <action> found." if not found else f"{len(found)} <action> tags found, give one."
    return found[0], ""
