"""Cleaning of a recipe's sections: one engine for all, a funnel for each, and what is said when nothing is left."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from hexapla.common.errors import UserError
from hexapla.common.progress import Progress
from hexapla.data.cleaning import MIN_LANGUAGES
from hexapla.data.filters.corpus import CorpusFilter
from hexapla.data.filters.engine import Engine, Item
from hexapla.data.filters.spec import CleanSpec
from hexapla.data.funnel import Funnel
from hexapla.data.rows import Row
from hexapla.data.spec import HELD_OUT
from hexapla.data.storage import NoSink

ENGINE_VERSION = "1"
"""To be raised when the engine comes to keep other rows."""
_SHOWN_ROWS = 1000


def clean_versions(spec: CleanSpec | None) -> dict[str, str]:
    """What decides the cleaned rows besides the settings: the engine's version and every filter's.

    Of the settings, `processes` decides nothing; `rejects` and `samples` decide what is told, but not which rows are
    kept.

    Raises:
        UserError: a filter's package or model is missing.
    """
    if spec is None:
        return {}
    for each in spec.filters:
        each.require()
    versions = {f"{number} {each.filter}": each.version for number, each in enumerate(spec.filters, 1)}
    return {"engine": ENGINE_VERSION} | versions


class Curation(contextlib.AbstractContextManager["Curation"]):
    """Cleans section after section.

    Args:
        spec: None: nothing is cleaned.
        sink: is given what the filters reject.
        folder: for temporary files; None: the system's place for them.
    """

    def __init__(self, spec: CleanSpec | None, hubs: tuple[str, ...], sink: NoSink, folder: Path | None) -> None:
        self._spec, self._hubs, self._sink = spec, hubs, sink
        self._filters = () if spec is None else spec.filters
        self._engine = Engine(self._filters, hubs, processes=None if spec is None else spec.processes, folder=folder)
        self._funnels: dict[str, Funnel] = {}

    def __exit__(self, *error: object) -> None:
        self._engine.__exit__(*error)

    def clean(self, section: str, rows: Iterator[Item], *, pairs: bool) -> Iterator[Item]:
        """What the filters leave of a section.

        Args:
            pairs: whether the texts of a row are translations of each other; else a row may have one text.

        Raises:
            UserError: as `Engine.clean`.
        """
        if self._spec is None:
            return rows
        funnel = self._funnels[section] = Funnel(self._filters, self._spec.samples, self._rejecting(section))
        min_languages = MIN_LANGUAGES if pairs else 1
        entering = _shown(funnel.entering(rows), f"clean {section}")
        return self._engine.clean(entering, funnel, pairs=pairs, min_languages=min_languages)

    def emptiness(self, section: str) -> UserError:
        """Why no row of a section is left."""
        funnel = self._funnels.get(section)
        if funnel is None or not funnel.num_rows:
            kind = "training row" if section == "train" else f"{section} row"
            return UserError(f"No {kind} is left after test sentences were taken out.", where=f"data.{section}")
        return UserError(
            f"The filters left none of {funnel.num_rows} rows of data.{section}. Rows taken by: {funnel.explain()}.",
            where="data.clean",
            hint="Loosen the first of these or leave it out; `rejects: true` writes what each filter takes.",
        )

    def require_languages(self, absent: Sequence[str]) -> None:
        """Explain languages of which no training text is left, if it was the filters.

        Raises:
            UserError: of one of them the filters took every text.
        """
        funnel = self._funnels.get("train")
        eaten = [code for code in absent if funnel is not None and funnel.num_texts(code)]
        if funnel is None or not eaten:
            return
        texts = "; ".join(f"{code}: {funnel.explain(code)} of {funnel.num_texts(code)}" for code in eaten)
        raise UserError(
            f"The filters left no training text in: {', '.join(eaten)}. Texts taken by: {texts}.",
            where="data.clean",
            hint="Loosen these filters, or take the languages out of languages.",
        )

    def to_record(self, held_out: Sequence[Row]) -> dict[str, Any]:
        """The key `clean` of the summary: the filters, and the funnel of each section; nothing without filters.

        Args:
            held_out: rows of an automatic split, which stay; it is counted what the filters would do to them.
        """
        if self._spec is None:
            return {}
        record: dict[str, Any] = {
            "filters": [
                {"settings": each.resolved(), "version": each.version, "reasons": dict(each.reasons)}
                for each in self._filters
            ],
            **{section: funnel.to_record() for section, funnel in self._funnels.items()},
        }
        if held_out:
            record["held_out"] = self._judge(held_out)
        return {"clean": record}

    def _judge(self, rows: Sequence[Row]) -> dict[str, Any]:
        """What those filters that judge row by row would do."""
        filters = [each for each in self._filters if not isinstance(each, CorpusFilter)]
        funnel = Funnel(filters, 0)
        # Under one name: they may come from any of the training corpora.
        items = [(number, dataclasses.replace(row, corpus=HELD_OUT)) for number, row in enumerate(rows, 1)]
        with Engine(filters, self._hubs, processes=1) as engine:
            for _ in engine.clean(funnel.entering(items), funnel, pairs=True, min_languages=MIN_LANGUAGES):
                pass
        return {"rows": len(rows), "rejected": funnel.to_record()["corpora"][HELD_OUT]["rejected"]}

    def _rejecting(self, section: str) -> Callable[[dict[str, Any]], None] | None:
        if self._spec is None or not self._spec.rejects:
            return None
        return lambda record: self._sink.reject({"section": section} | record)


def _shown(rows: Iterator[Item], label: str) -> Iterator[Item]:
    """The rows, with a line of progress where there are many."""
    progress = Progress(label, None, unit="rows")
    number = 0
    for number, item in enumerate(rows, 1):
        yield item
        if number % _SHOWN_ROWS == 0:
            progress.advance(_SHOWN_ROWS)
    if number > _SHOWN_ROWS:
        progress.advance(number % _SHOWN_ROWS)
        progress.close("all read")
