"""How the adapters came to be: training and merging."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hexapla.analyze.curves import Course
from hexapla.analyze.present import Column, Table, Value


@dataclass(frozen=True)
class Cell:
    """A figure as shown: None is missing."""

    text: str | None


def training(summaries: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """One row an adapter; the keys are those of `training.json`, a missing one is shown as such.

    Each may also hold `losses`, [step, loss] of the course of training (`curves.loss_curve`). Development figures and
    curves are left out where no adapter has them.
    """
    records = list(summaries.values())
    courses = [
        Course.of(record.get("losses") or [], record.get("development") or [], record.get("num_steps"))
        for record in records
    ]
    columns = ["examples", "set aside", "steps", "first loss", "final loss", "target tokens", "seconds", "tokens/s"]
    place = columns.index("final loss") + 1
    if any(record.get("development_chrf") for record in records):
        columns.insert(place, "best development chrF")
    if any(record.get("development") for record in records):
        columns.insert(place, "best development loss")
    rows = []
    for name, record, course in zip(summaries, records, courses, strict=True):
        figures = _training_figures(record)
        status = str(record.get("status", "—"))
        again = ", second try" if record.get("story") and status != "diverged" else ""
        rows.append(
            {
                "name": name,
                "status": status.replace("-", " ") + again,
                "is_bad": status not in ("finished", "stopped-early"),
                "story": record.get("story"),
                "course": course,
                "cells": [figures[column] for column in columns],
            }
        )
    has_curves = any(course is not None for course in courses)
    return {
        "notes": _training_notes(records),
        "has_curves": has_curves,
        "has_development_curves": any(course is not None and course.development for course in courses),
        "columns": columns,
        "rows": rows,
    }


def training_table(summaries: Mapping[str, Mapping[str, Any]]) -> Table:
    """The figures of all adapters, unrounded."""
    titles = ("adapter", "status", "trainer", "examples", "set aside", "steps", "planned steps")
    numbers = ("first loss", "final loss", "best development loss", "best development chrF", "target tokens", "seconds")
    rows: list[tuple[Value, ...]] = []
    for name, record in summaries.items():
        aside = record.get("set_asides")
        rows.append(
            (
                name,
                record.get("status"),
                record.get("trainer"),
                record.get("num_examples"),
                None if aside is None else sum(aside.values()),
                record.get("num_steps"),
                record.get("num_planned_steps"),
                record.get("first_loss"),
                record.get("final_loss"),
                min((loss for _, loss in record.get("development") or ()), default=None),
                max((chrf for _, chrf in record.get("development_chrf") or ()), default=None),
                record.get("num_target_tokens"),
                record.get("seconds"),
            )
        )
    columns = (*map(Column, titles), *(Column(title, 3) for title in numbers))
    return Table("adapters", "Training", columns, tuple(rows))


def merges_table(reports: Mapping[str, Mapping[str, Any]]) -> Table:
    """One row a merged adapter, from the totals of `merge-report.json`; shares in percent."""
    rows: list[tuple[Value, ...]] = []
    for pool, adapters in reports.items():
        for name, record in adapters.items():
            total = record.get("total", {})
            shares = [total.get(key) for key in ("relative_error", "sign_conflict_share", "kept_mass")]
            percents = [None if share is None else 100 * share for share in shares]
            rows.append((pool, name, ", ".join(record.get("experts", ())) or None, record.get("rank"), *percents))
    titles = ("relative error %", "sign conflicts %", "kept mass %")
    columns = (
        *map(Column, ("pool", "adapter", "experts")),
        Column("rank", 0),
        *(Column(title, 1) for title in titles),
    )
    note = (
        "Relative error: how much of the merged update rank r cannot hold. Sign conflicts: share of the kept entries "
        "on whose sign the experts disagree. Kept mass: share of the experts' magnitudes that trimming leaves."
    )
    return Table("merges", "Merged adapters", columns, tuple(rows), note)


def _training_figures(record: Mapping[str, Any]) -> dict[str, Cell]:
    """An adapter's figures by column."""
    aside, steps, planned = record.get("set_asides"), record.get("num_steps"), record.get("num_planned_steps")
    num_tokens, seconds = record.get("num_input_tokens"), record.get("seconds")
    shown_steps = _count(steps)
    if steps is not None and planned is not None and steps != planned:
        shown_steps = Cell(f"{steps:,} of {planned:,}")
    return {
        "examples": _count(record.get("num_examples")),
        "set aside": _count(None if aside is None else sum(aside.values())),
        "steps": shown_steps,
        "first loss": _decimal(record.get("first_loss"), 3),
        "final loss": _decimal(record.get("final_loss"), 3),
        "best development loss": _decimal(min((loss for _, loss in record.get("development") or ()), default=None), 3),
        "best development chrF": _decimal(
            max((chrf for _, chrf in record.get("development_chrf") or ()), default=None), 1
        ),
        "target tokens": _count(record.get("num_target_tokens")),
        "seconds": _decimal(seconds, 1),
        "tokens/s": _decimal(num_tokens / seconds if num_tokens and seconds else None, 0),
    }


def _training_notes(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """How the adapters were trained, and which figures need a word."""
    notes = []
    bank = [record for record in records if record.get("trainer") == "bank"]
    alone = sum(record.get("trainer") == "peft" for record in records)
    if bank:
        beside = max(record.get("company") or 1 for record in bank)
        notes.append(
            f"Trained by the bank: {len(bank)}, up to {beside} beside each other; "
            "seconds are an adapter's share of the common time, by tokens."
        )
    if whole := sum(record.get("trainer") == "full" for record in records):
        notes.append(f"Whole models, every parameter trained: {whole}.")
    if alone:
        notes.append(f"Trained one after another with peft: {alone}.")
    if any(_kept_fewer(record) for record in records):
        notes.append("Steps count the updates that are in the adapter, of those planned.")
    return notes


def _kept_fewer(record: Mapping[str, Any]) -> bool:
    planned = record.get("num_planned_steps")
    return planned is not None and record.get("num_steps") != planned


def _count(value: int | None) -> Cell:
    return Cell(None if value is None else f"{value:,}")


def _decimal(value: float | None, digits: int) -> Cell:
    return Cell(None if value is None else f"{value:,.{digits}f}")
