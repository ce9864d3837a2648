"""Renders a template to a self-contained page, which loads nothing and runs only its own script."""

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from ludus.report.figures import visible
from ludus.tools.wording import number, signed


def render_page(template: str, styles: Sequence[str] = (), scripts: Sequence[str] = (), **values: Any) -> str:
    """A whole page; all text in it is escaped, with invisible characters made visible.

    Args:
        template: A file of this package, such as `run/page.html.jinja`.
        styles: Style sheets of this package besides `report.css`.
        scripts: Scripts of this package besides `report.js`.
        values: What the template uses.
    """
    script = "".join(map(_resource, ("report.js", *scripts)))
    environment = Environment(
        loader=FunctionLoader(_resource),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    environment.globals.update(number=number, signed=signed)
    return environment.get_template(template).render(
        style=Markup("".join(map(_resource, ("report.css", *styles)))),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        **values,
    )


def _shown(value: Any) -> Any:
    return value if isinstance(value, Markup) or not isinstance(value, str) else visible(value)


def _resource(name: str) -> str:
    return files("ludus.report").joinpath(name).read_text(encoding="utf-8")
