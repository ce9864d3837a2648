"""`ludus check ID`: the conformance suite."""

from dataclasses import dataclass

from ludus.cli.environments import make
from ludus.cli.options import Arguments, EnvironmentId
from ludus.cli.values import parse_arguments


@dataclass(frozen=True)
class Check:
    """Run the conformance suite on an environment: one of Ludus, or your own as module:ID.

    The scripted agents must score what they should (null about 0, oracle 1, cheaters about 0), and seeding,
    malformed replies, snapshots, limits and spaces must hold. Exits with 1 when a check fails.
    """

    id: EnvironmentId
    """The environment, such as ludus/Arithmetic-v0 or my_package.envs:mine/Guess-v0."""
    arg: Arguments = ()
    """A keyword argument of gym.make; the value as in TOML or JSON. May be given several times."""

    def execute(self) -> int:
        arguments = parse_arguments(self.arg)
        make(self.id, arguments).close()
        raise NotImplementedError
