"""Pages that need no network: the templates, styles and scripts in `page/`, filled in.

Every text passes through the template's escaping; a page forbids itself to load anything.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hexapla.analyze.browser import pack
from hexapla.analyze.charts import draw
from hexapla.analyze.charts.data import data_table
from hexapla.analyze.present import Table
from hexapla.analyze.tables import best_rows, is_text, shown, to_csv
from hexapla.evaluate.comparison import parameter_count

_PAGE = Path(__file__).with_name("page")
_STYLES = ("report.css", "charts.css")


def render(template: str, *, scripts: Iterable[str], tables: Iterable[Table], **parts: Any) -> str:
    """A page as text.

    Args:
        template: file in `page/`.
        scripts: files there, in their order.
        tables: what the page offers as CSV.
        parts: what the template names besides; markup among it is to be `markupsafe.Markup`.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(_PAGE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    # Markup: what is marked so is ours, or escaped where it is made (charts/svg.py), or base64
    environment.filters["chart"] = lambda chart: Markup(draw(chart))
    environment.filters["data"] = data_table
    environment.filters["shown"] = shown
    environment.globals.update(is_text=is_text, best_rows=best_rows, parameter_count=parameter_count)
    environment.tests["table"] = lambda item: isinstance(item, Table)
    return environment.get_template(template).render(
        style=Markup("\n".join(_bundled(name) for name in _STYLES)),
        script=Markup("\n".join(_bundled(name) for name in scripts)),
        csv=Markup(pack(json.dumps({table.name: to_csv(table) for table in tables}, ensure_ascii=False))),
        **parts,
    )


def _bundled(name: str) -> str:
    return (_PAGE / name).read_text(encoding="utf-8")
