"""List the known languages with their codes, or those that match a query."""

from __future__ import annotations

import argparse

EXAMPLE = "hexapla languages norwegian"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """[QUERY]."""
    parser.add_argument("query", nargs="?", metavar="QUERY", help="part of a name or any code")


def execute(options: argparse.Namespace) -> None:
    """Print a table of languages."""
    from tabulate import tabulate

    from hexapla import languages
    from hexapla.common.errors import UserError

    found = languages.search(options.query) if options.query else list(languages.all_languages())
    if not found:
        languages.get(options.query)  # raises with the nearest names
        raise UserError(f"No language matches {options.query!r}.")
    columns = ("code", "name", "bcp47", "flores", "ntrex", "script", "family", "subgroup", "resource")
    rows = [[getattr(language, column) or "" for column in columns] for language in found]
    print(tabulate(rows, headers=columns, tablefmt="plain", disable_numparse=True))
