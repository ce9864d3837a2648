"""The options of `ludus bench` and `ludus eval` for a model behind a server."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from ludus.cli.errors import UsageError
from ludus.cli.values import parse_value

if TYPE_CHECKING:
    from ludus.agents.engines.options import ServerOptions

_Pairs = tyro.conf.UseAppendAction[tuple[str, ...]]


@dataclass(frozen=True)
class ServerFlags:
    """How a model behind a server is asked. What is not for servers only says so."""

    concurrency: int = 64
    """The most episodes, and requests, at once. A server that bears less gets less."""
    max_tokens: Annotated[int | None, tyro.conf.arg(metavar="INT", help_behavior_hint="")] = None
    """The most tokens in one reply, of any model. Default: the value that the model's run was trained with;
    16384 for a server, whose model may reason first; 1024 for another model in bench, 256 in eval."""
    system: Annotated[str, tyro.conf.arg(metavar="TEXT", help_behavior_hint="")] = ""
    """A text at the beginning of the system message, for any model."""
    written_calls: Annotated[str, tyro.conf.arg(metavar="auto|FORMAT", help_behavior_hint="")] = ""
    """auto: read the tool calls that a server leaves in a reply's text. A format (hermes, mistral, …), for
    any model: list the tools in the system message alone, and read the calls from the text."""
    extra: Annotated[_Pairs, tyro.conf.arg(metavar="KEY=VALUE", help_behavior_hint="")] = ()
    """A field for the body of every request, its value as in JSON or TOML; KEY= takes a field away. May be
    given several times."""
    header: Annotated[_Pairs, tyro.conf.arg(metavar="NAME=VALUE", help_behavior_hint="")] = ()
    """A header for every request; its value is recorded nowhere. May be given several times."""
    query: Annotated[_Pairs, tyro.conf.arg(metavar="KEY=VALUE", help_behavior_hint="")] = ()
    """A parameter of every URL, such as Azure's api-version=2024-10-21. May be given several times."""
    key_variable: Annotated[str, tyro.conf.arg(metavar="NAME", help_behavior_hint="")] = "OPENAI_API_KEY"
    """The environment variable with the key."""
    timeout: float = 600.0
    """Seconds to wait for one answer."""
    ca: Annotated[Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="")] = None
    """A file of certificates (PEM) to trust instead of the usual authorities."""

    def options(self) -> "ServerOptions":
        """
        Raises:
            UsageError: an option has a value that cannot work.
        """
        from ludus.agents.engines.options import ServerOptions

        if self.concurrency < 1:
            raise UsageError(f"--concurrency {self.concurrency}: must be at least 1")
        if self.max_tokens is not None and self.max_tokens < 1:
            raise UsageError(f"--max-tokens {self.max_tokens}: must be at least 1")
        if not 0 < self.timeout < float("inf"):
            raise UsageError(f"--timeout {self.timeout}: must be more than 0 seconds, and finite")
        if self.ca is not None and not self.ca.is_file():
            raise UsageError(f"--ca {self.ca}: there is no such file")
        if self.written_calls not in ("", "auto"):
            from ludus.agents.formats.calls.registry import FORMATS

            if self.written_calls not in FORMATS:
                raise UsageError(
                    f"--written-calls {self.written_calls}: it is auto, or one of {', '.join(FORMATS)}"
                )
        extra = {key: parse_value(value) if value else None for key, value in _pairs("extra", self.extra)}
        return ServerOptions(
            concurrency=self.concurrency,
            timeout_s=self.timeout,
            extra=extra,
            headers=dict(_pairs("header", self.header)),
            query=dict(_pairs("query", self.query)),
            key_variable=self.key_variable,
            ca=self.ca,
        )

    def refuse_for(self, model: str) -> None:
        """Refuse what only a server can have.

        Raises:
            UsageError: one of these options was given.
        """
        given = [
            f"--{name.replace('_', '-')}"
            for name in ("extra", "header", "query", "key_variable", "timeout", "ca")
            if getattr(self, name) != getattr(ServerFlags(), name)
        ]
        if self.written_calls == "auto" or (self.written_calls and model.startswith("scripted:")):
            given.append(f"--written-calls {self.written_calls}")
        if given:
            raise UsageError(f"{', '.join(given)}: only for a model behind a server, and {model} is none")


Server = Annotated[ServerFlags, tyro.conf.arg(name="")]
"""The type of a command's field: its options stand among the command's own."""


def _pairs(option: str, given: Sequence[str]) -> list[tuple[str, str]]:
    """
    Raises:
        UsageError: one is not of the form `name=value`, or a name is given twice.
    """
    pairs: list[tuple[str, str]] = []
    for text in given:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not equals or not name:
            shown = "" if option == "header" else f" {text!r}"  # a header may be a secret
            raise UsageError(f"--{option}{shown} is not of the form NAME=VALUE")
        if name in dict(pairs):
            raise UsageError(f"--{option} {name} is given twice: keep one")
        pairs.append((name, value))
    return pairs
