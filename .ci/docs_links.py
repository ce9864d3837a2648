"""A hook of mkdocs: the site also shows README.md and its like, whose links are those of the repository."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LINKS = {
    "docs/": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "LICENSE": "https://www.apache.org/licenses/LICENSE-2.0",
    "examples/own_environment.py": "environments/own.md",
}
"""Where the site has what lies outside docs/."""


EXAMPLE = re.compile(r"\[([^\]]+)\]\((?:\.\./)+examples/[^)]+\)")
"""A link to an example, which stands in the repository and not on the site."""


def on_page_markdown(markdown: str, **_: object) -> str:
    """The page with the `*.md` files of the root that it embeds, their links led to the site's pages; of a
    link to an example its name alone."""
    embedded = re.compile(r'^--8<-- "(\w+\.md)"$', re.MULTILINE)
    return EXAMPLE.sub(r"\1", embedded.sub(lambda match: _relinked(ROOT / match[1]), markdown))


def _relinked(file: Path) -> str:
    def lead(match: re.Match[str]) -> str:
        return f"]({LINKS.get(match[1], match[1].removeprefix('docs/'))})"

    return re.sub(r"\]\(([^)]+)\)", lead, file.read_text(encoding="utf-8"))
