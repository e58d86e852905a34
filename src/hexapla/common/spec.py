"""The base of every settings class: frozen, keyword-only, unknown keys refused."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from hexapla.common.errors import UserError, nearest


class Spec(BaseModel):
    """A section of the recipe, or the settings of one component used as a library."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    def resolved(self) -> dict[str, Any]:
        """Every field with its value, defaults written out, as plain JSON data."""
        return self.model_dump(mode="json")


def validation_message(error: ValidationError, model: type[BaseModel], where: str | None = None) -> UserError:
    """Turn pydantic's list of faults into one paragraph with paths and nearest names.

    Args:
        error: what pydantic raised.
        model: the spec that was validated; its field names are the candidates for unknown keys.
        where: the document (a file name), set before the path of each fault.
    """
    faults = []
    for item in error.errors():
        path = ".".join(str(part) for part in item["loc"] if not _is_tag(part))
        if item["type"] == "extra_forbidden":
            known = _fields_at(model, item["loc"][:-1])
            faults.append(
                f"{path}: unknown key. {nearest(str(item['loc'][-1]), known)}" if known else f"{path}: unknown key."
            )
        elif item["type"] == "missing":
            faults.append(f"{path}: required, but not given.")
        else:
            message = item["msg"].removeprefix("Value error, ")
            given = repr(item["input"])
            shown = given if len(given) <= 60 else given[:57] + "..."
            faults.append(f"{path}: {message} (given: {shown})." if path else f"{message}")
    return UserError(" ".join(dict.fromkeys(faults)), where=where)


def _is_tag(part: int | str) -> bool:
    """Pydantic names the arm of a union in the path (`list[str]`); readers of a recipe do not know those."""
    return isinstance(part, str) and ("[" in part or part in {"str", "int", "float", "bool"})


def _fields_at(model: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """Field names of the spec reached from `model` along `path`; empty when the path leaves the specs."""
    current: Any = model
    for part in path:
        if isinstance(part, int) or _is_tag(part):
            continue
        if not (isinstance(current, type) and issubclass(current, BaseModel)) or part not in current.model_fields:
            continue
        annotation = current.model_fields[part].annotation
        current = next(
            (arg for arg in _arguments(annotation) if isinstance(arg, type) and issubclass(arg, BaseModel)), annotation
        )
    return list(current.model_fields) if isinstance(current, type) and issubclass(current, BaseModel) else []


def _arguments(annotation: Any) -> list[Any]:
    """`annotation` and, recursively, its type arguments: `list[A] | None` gives A among others."""
    found = [annotation]
    for argument in getattr(annotation, "__args__", ()):
        found.extend(_arguments(argument))
    return found
