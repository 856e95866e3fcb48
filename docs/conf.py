"""The site's settings. It is built by `make docs` from a copy of the pages (see `tools/make_site.py`).

Every warning is an error: a link, an anchor or a name in a docstring that leads nowhere stops the build. The site loads
nothing from elsewhere, so that it opens from the disk.
"""

from __future__ import annotations

import re
import sys
from inspect import isclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "src"))

import pawl  # noqa: E402
from pawl import errors  # noqa: E402

project = "Pawl"
author = "the Pawl authors"
release = "0.1.0"
html_title = "Pawl"
html_theme = "furo"
html_show_copyright = False
html_show_sphinx = False
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["pawl.css"]
html_theme_options = {"navigation_with_keys": True}

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
myst_heading_anchors = 4
myst_links_external_new_tab = False
nitpicky = True
suppress_warnings: list[str] = []

autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
# The extra [postgres] is not needed to read its documentation.
autodoc_mock_imports = ["psycopg", "psycopg_pool"]
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88

# Names in annotations that are no page of ours.
ELSEWHERE = (
    r"(collections\.abc|contextlib|os|pathlib|enum|types|logging|typing|uuid)\..*|T|Path|PathLike|.*Final.*"
    # What all devices have in common: its members are on the page of `Device`.
    r"|pawl\.device_base\.DeviceBase"
    # How a pool reads and commits is its own affair; a provider is OpenTelemetry's.
    r"|pawl\.workers\.desk\.Desk|pawl\.workers\.device\.T|opentelemetry\..*"
)
nitpick_ignore_regex = [(r"py:.*", ELSEWHERE)]

REFUSALS = {name for name, kind in vars(errors).items() if isclass(kind) and issubclass(kind, pawl.ProtocolError)}
CODE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
REFUSAL = re.compile(r"(?<![`\w.])[A-Z]\w+(?![\w`])")


def from_plain_words(app, what, name, thing, options, lines):  # type: ignore[no-untyped-def]
    """Docstrings are plain text with `code` in backticks: say the same in the generator's language."""
    result: list[str] = []
    in_code = False
    for line in lines:
        after_a_gap = bool(result) and not result[-1].strip() and not lines_are_a_list(result)
        if line.startswith("    ") and (in_code or after_a_gap):
            if not in_code:
                result += ["::", ""]
            in_code = True
            result.append(line)
            continue
        in_code = in_code and not line.strip()
        text = CODE.sub(r"``\1``", line)
        # What is raised, and where a rule comes from, each begin a paragraph of their own.
        if re.match(r"(Raises|Source): ", text) and result and result[-1].strip():
            result.append("")
        result.append(REFUSAL.sub(link, text))
    lines[:] = result


def lines_are_a_list(before: list[str]) -> bool:
    """Whether the last text before was an item of a list."""
    texts = [line for line in before if line.strip()]
    return bool(texts) and texts[-1].lstrip().startswith(("* ", "- "))


def link(match: re.Match[str]) -> str:
    """A refusal's name as a reference to it."""
    return f":py:exc:`~pawl.errors.{match[0]}`" if match[0] in REFUSALS else match[0]


def setup(app):  # type: ignore[no-untyped-def]  # noqa: D103
    app.connect("autodoc-process-docstring", from_plain_words)
