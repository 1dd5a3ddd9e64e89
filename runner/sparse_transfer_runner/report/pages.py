"""What pages have in common: their templates' environment and their style."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from . import wording

_STYLE = "report.css"


def environment() -> Environment:
    """Returns the environment of the templates; text from outside is escaped."""
    made = Environment(
        loader=PackageLoader(__package__ or __name__),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        ratio=wording.ratio,
        percent=wording.percent,
        times=wording.times,
        ms=wording.milliseconds,
        layer_ms=wording.layer_milliseconds,
        megabytes=wording.megabytes,
        number=wording.number,
    )
    return made


def style(pages: Environment) -> Markup:
    """Returns the style sheet, to stand inside a page."""
    return Markup(pages.get_template(_STYLE).render())
