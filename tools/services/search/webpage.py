"""`read_html`: the title and the text of a web page."""

from html.parser import HTMLParser

_SILENT = frozenset(("script", "style", "noscript", "template", "svg", "nav", "footer", "form"))
_BLOCKS = frozenset(
    ("p", "div", "br", "li", "ul", "ol", "tr", "table", "section", "article", "blockquote", "pre")
) | frozenset(("h1", "h2", "h3", "h4", "h5", "h6", "dt", "dd"))


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.title: list[str] = []
        self.parts: list[str] = []
        self.silent = 0
        self.in_title = False

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.silent += tag in _SILENT
        self.in_title = self.in_title or tag == "title"
        if tag in _BLOCKS:
            self.parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        self.silent -= tag in _SILENT and self.silent > 0
        if tag == "title":
            self.in_title = False
        if tag in _BLOCKS:
            self.parts.append("\n")

    def handle_data(self, data: str) -> None:
        if self.in_title:
            self.title.append(data)
        elif not self.silent:
            self.parts.append(data)


def read_html(html: str) -> tuple[str, str]:
    """A page's title and text: a line per block, without scripts, styles, menus and forms."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    lines = (" ".join(line.split()) for line in "".join(reader.parts).split("\n"))
    return " ".join("".join(reader.title).split()), "\n".join(line for line in lines if line)
