"""What the pages share: how a template is filled in, and the style that is all that a page may have."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from pawl_gate.chart import Note
from pawl_gate.explain import ID
from pawl_gate.explain_text import LEVELS, needs
from pawl_gate.targets.registry import CONTROL
from pawl_gate.visible import visible
from pawl_spec.registry import THREATS


def environment() -> Environment:
    """The templates of this package. They escape what is put into them, and show what cannot be seen in it."""
    css = resources.files(__package__).joinpath("page.css").read_text("utf-8")
    made = Environment(
        loader=PackageLoader(__package__, "."),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters |= {"thousands": lambda number: f"{number:,}", "slug": lambda id_: id_.lower(), "ids": _ids}
    made.globals |= {
        "css": Markup(css),  # noqa: S704 (a file of this package)
        "css_digest": base64.b64encode(hashlib.sha256(css.encode()).digest()).decode(),
        "THREATS": THREATS,
        "LEVELS": LEVELS,
        "CONTROL": CONTROL,
        "needs": needs,
        "is_note": lambda row: isinstance(row, Note),
        "times": times,
        "traces": traces,
        "operations": lambda count: "1 operation" if count == 1 else f"{count:,} operations",
    }
    return made


def _finalize(value: Any) -> Any:
    """Whatever is put into the template: text shows what cannot be seen in it."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _ids(text: str) -> Markup:
    """The text, escaped, with the ids of invariants kept on one line."""
    return Markup(ID.sub(r'<span class="nowrap">\g<0></span>', str(escape(visible(text)))))  # noqa: S704


def times(count: int) -> str:
    """So many times, in words."""
    return "once" if count == 1 else f"{count:,} times"


def traces(count: int) -> str:
    """So many traces, in words."""
    return "1 trace" if count == 1 else f"{count:,} traces"
