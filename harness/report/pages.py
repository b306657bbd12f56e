"""How pages are made of templates: one file each, without network."""

from __future__ import annotations

import base64
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape


def templates() -> Environment:
    """Return the templates of this package; a name that they lack is an error."""
    environment = Environment(
        loader=PackageLoader("harness.report"),
        autoescape=select_autoescape(enabled_extensions=("html", "html.j2")),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["inline"] = _inline
    return environment


def _inline(path: Path) -> str:
    """Return an SVG as a data URL: one file without network, and no ids that clash."""
    return f"data:image/svg+xml;base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"
