"""`Domain`: a family of small packages, templates whose names and rules are drawn."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from string import Template
from typing import Any

Parameters = Mapping[str, str]
"""What fills a package's placeholders."""

Draft = tuple[str, str, list[Any]]
"""A call to the package: module (without the package name), function, and arguments as JSON data."""


@dataclass(frozen=True)
class Domain:
    """A package with placeholders (`$name`), their possible values, and calls that exercise it.

    Its README is the specification: it names every choice, so whoever reads it knows what the modules should
    do. The choice `package` is the name of the package.
    """

    name: str
    choices: Mapping[str, Sequence[str]]
    """The names, numbers and phrases to draw from, by placeholder."""
    code: Mapping[str, tuple[str, Sequence[str]]]
    """Placeholders that follow from a choice: the choice's name, and a text for each of its options, which
    may refer to choices."""
    readme: str
    modules: Mapping[str, str]
    """File name within the package → text."""
    calls: Callable[[Random, Parameters], Draft]
    """Draws a call, which the correct package answers with JSON data without raising."""

    def draw(self, rng: Random) -> dict[str, str]:
        """Draw a value for every placeholder."""
        return {name: rng.choice(options) for name, options in self.choices.items()}

    def render(self, parameters: Parameters) -> dict[str, str]:
        """Path → text of the correct package and its README."""
        filled = dict(parameters)
        for name, (choice, texts) in self.code.items():
            text = texts[self.choices[choice].index(parameters[choice])]
            filled[name] = Template(text).substitute(parameters)
        package = parameters["package"]
        return {
            "README.md": Template(self.readme).substitute(filled),
            f"{package}/__init__.py": "",
            **{f"{package}/{file}": Template(text).substitute(filled) for file, text in self.modules.items()},
        }

    def recognise(self, readme: str) -> dict[str, str] | None:
        """The choices that a README describes; None if it belongs to another domain."""
        seen: set[str] = set()

        def group(placeholder: re.Match[str]) -> str:
            name = placeholder[1]
            if name in seen:
                return f"(?P={name})"
            seen.add(name)
            options = self.choices[name] if name in self.choices else self.code[name][1]
            return f"(?P<{name}>{'|'.join(map(re.escape, options))})"

        # Escaping leaves `\$name` or `\$\{name\}` where a placeholder was.
        pattern = re.sub(r"\\\$(?:\\\{)?(\w+)(?:\\\})?", group, re.escape(self.readme))
        match = re.fullmatch(pattern, readme)
        return {name: match[name] for name in self.choices} if match else None


def numbers(least: int, most: int) -> tuple[str, ...]:
    """The numbers from `least` to `most`, as options."""
    return tuple(map(str, range(least, most + 1)))
