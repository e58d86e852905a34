"""The base of every settings class: frozen, keyword-only, unknown keys refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from hexapla.common.errors import UserError, nearest


class Spec(BaseModel):
    """A section of the recipe, or the settings of one component used as a library."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    def resolved(self) -> dict[str, Any]:
        """Every field with its value, defaults written out, as plain JSON data."""
        return self.model_dump(mode="json")


def kinds_of(union: Any, key: str) -> tuple[str, ...]:
    """Every value that the discriminator `key` has among the specs of a union."""
    return tuple(arm.model_fields[key].default for arm in get_args(union))


def require_kind(value: Any, key: str, holder: str, kinds: Sequence[str]) -> None:
    """Say it in our words when the discriminator of a spec in a union is missing or unknown.

    Args:
        holder: what the spec is called, with its article.

    Raises:
        ValueError: it is; pydantic collects it with the path of the spec.
    """
    name = value.get(key) if isinstance(value, dict) else getattr(value, key, None)
    if name is None:
        raise ValueError(f"{holder} needs a {key}: {', '.join(kinds)}")
    if name not in kinds:
        raise ValueError(f"there is no {key} {name!r}. {nearest(str(name), kinds)}")


def validation_message(error: ValidationError, model: type[BaseModel], where: str | None = None) -> UserError:
    """Turn pydantic's list of faults into one paragraph with paths and nearest names.

    Args:
        error: what pydantic raised.
        model: the spec that was validated; its field names are the candidates for unknown keys.
        where: the document (a file name), set before the path of each fault.
    """
    faults = []
    for item in error.errors():
        parts, specs = _walk(model, item["loc"])
        path = ".".join(parts)
        if item["type"] == "extra_forbidden":
            known = [name for spec in specs for name in spec.model_fields]
            faults.append(f"{path}: unknown key. {nearest(parts[-1], known)}")
        elif item["type"] == "missing":
            faults.append(f"{path}: required, but not given.")
        else:
            message = item["msg"].removeprefix("Value error, ")
            given = repr(item["input"])
            shown = given if len(given) <= 60 else given[:57] + "..."
            faults.append(f"{path}: {message} (given: {shown})." if path else message)
    return UserError(" ".join(dict.fromkeys(faults)), where=where)


def _walk(model: type[BaseModel], location: tuple[int | str, ...]) -> tuple[list[str], list[type[BaseModel]]]:
    """The path of a fault as a reader of the recipe knows it, and the specs that hold its last part.

    Pydantic puts the arm of a union into the path: a type (`list[str]`) or the discriminator's value (`ntrex` in
    `data.train.0.ntrex.path`); neither stands in the document.
    """
    parts: list[str] = []
    specs: list[type[BaseModel]] = [model]
    for part in location:
        if isinstance(part, int):
            parts.append(str(part))
            continue
        fields = [spec.model_fields[part] for spec in specs if part in spec.model_fields]
        if fields:
            parts.append(part)
            below = [_specs_in(field.annotation) for field in fields]
            # A field without specs below keeps its holders, as they are the ones to suggest names from.
            specs = [spec for found in below for spec in found] or specs
        elif arms := [spec for spec in specs if _discriminator(spec) == part]:
            specs = arms
        elif not _is_type_name(part):
            parts.append(part)
    return parts, specs


def _discriminator(spec: type[BaseModel]) -> Any:
    """The one value that the first field of an arm of a union has."""
    first = next(iter(spec.model_fields.values()), None)
    return first.default if first is not None else None


def _is_type_name(part: str) -> bool:
    return "[" in part or part in {"str", "int", "float", "bool"}


def _specs_in(annotation: Any) -> list[type[BaseModel]]:
    """The specs in an annotation, inside unions, tuples and maps."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [spec for argument in getattr(annotation, "__args__", ()) for spec in _specs_in(argument)]
