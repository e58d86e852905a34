"""Reading the phrasebook's YAML tables: every scalar is text, and a key given twice is an error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from hexapla.common.errors import UserError

FOLDER = Path(__file__).parent

_Base: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)


class _TextLoader(_Base):
    """Scalars stay text, so that `no`, `on` and `12` are words; duplicate keys are refused."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """The mapping of `node`, checked for duplicate keys."""
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise UserError(f"the key {key.value!r} is given twice.", where=f"line {key.start_mark.line + 1}")
            seen.add(key.value)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        return mapping


def read_table(name: str) -> dict[str, Any]:
    """The table `name`, a path below the phrasebook's folder.

    Raises:
        UserError: the file is not valid YAML or gives a key twice.
    """
    try:
        table = yaml.load((FOLDER / name).read_text(encoding="utf-8"), Loader=_TextLoader)
    except yaml.YAMLError as error:
        raise UserError(f"not valid YAML: {error}", where=name) from error
    except UserError as error:
        raise UserError(error.what, where=f"{name}, {error.where}") from error
    assert isinstance(table, dict), name
    return table
