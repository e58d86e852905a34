"""One language of the phrasebook: its lexicon (forms of every concept), its patterns, where needed its rules."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping
from functools import cache

from hexapla.common.errors import UserError, nearest
from hexapla.phrasebook.meanings import Meaning, inventory
from hexapla.phrasebook.patterns import Forms, PatternError, Render, compile_pattern
from hexapla.phrasebook.tables import FOLDER, read_table

Lexicon = dict[str, dict[str, Forms]]

_MARKS = ".,?!;।۔؟،"
"""Marks that stand directly after a word, whatever the script."""


class Grammar:
    """Realizes meanings in one language. Patterns do most of it; a subclass adds what they cannot say.

    A subclass named `Grammar` in `grammar/<code>.py` may
      * define `frame_<name>(self, slots) -> str` for a frame without a pattern: `slots[slot][form]` are the word forms,
        `slots[slot]["id"]` is the concept;
      * override `derive` to compute forms by rule when the lexicon is loaded;
      * override `finish` to mend the whole sentence (elision, contraction); call `super().finish(text)`.
    """

    def __init__(self, code: str, lexicon: Lexicon, patterns: Mapping[str, str]) -> None:
        self.code = code
        self.lexicon: Lexicon = {
            kind: {concept: {**forms, **self.derive(kind, concept, forms)} for concept, forms in entries.items()}
            for kind, entries in lexicon.items()
        }
        self._frames: dict[str, tuple[Render, list[tuple[str, Mapping[str, Forms]]]]] = {}
        for name, frame in inventory().frames.items():
            render = self._render(name, patterns)
            if render is not None:
                self._frames[name] = (
                    render,
                    [(slot, self.lexicon.get(kind, {})) for slot, kind in frame.kinds.items()],
                )

    def _render(self, name: str, patterns: Mapping[str, str]) -> Render | None:
        method: Callable[[Mapping[str, Forms]], str] | None = getattr(self, f"frame_{name}", None)
        if method is not None or name not in patterns:
            return method
        try:
            return compile_pattern(patterns[name])
        except PatternError as error:
            raise UserError(str(error), where=f"lexicon/{self.code}.yaml, patterns.{name}") from error

    @property
    def frames(self) -> frozenset[str]:
        """The frames that this language can say."""
        return frozenset(self._frames)

    def derive(self, kind: str, concept: str, forms: Forms) -> Forms:
        """Forms of `concept` that follow by rule from those of the lexicon (none by default)."""
        return {}

    def finish(self, text: str) -> str:
        """The sentence put right: no space left by an empty form, a capital first letter where the script has case."""
        if "  " in text or text[0] == " ":
            text = " ".join(text.split())
        for mark in _MARKS:
            if " " + mark in text:
                text = text.replace(" " + mark, mark)
        first = 1 if text[0] in "¿¡«“„" else 0
        return text[:first] + self.upper(text[first]) + text[first + 1 :]

    def upper(self, letter: str) -> str:
        """The capital of `letter` (Turkish and Azerbaijani override it for the dotted i)."""
        return letter.upper()

    def realize(self, meaning: Meaning) -> str:
        """The sentence that says `meaning`.

        Raises:
            UserError: the frame, the concept or a form of it is missing in this language's tables.
        """
        try:
            render, kinds = self._frames[meaning.frame]
            fillers = meaning.fillers
            return self.finish(render({slot: entries[fillers[slot]] for slot, entries in kinds}))
        except KeyError as error:
            where = f"phrasebook/lexicon/{self.code}.yaml"
            raise UserError(f"{error} is missing for {meaning.id}.", where=where) from error


def codes() -> list[str]:
    """The codes of the languages whose lexicon is in the folder, sorted."""
    return sorted(path.stem for path in (FOLDER / "lexicon").glob("*.yaml"))


def read_forms(names: list[str], line: str, where: str) -> Forms:
    """Read `form | form | ...`; `=` repeats the form before it, `~` is the empty text.

    Raises:
        UserError: the number of forms differs from the number of `names`.
    """
    values: list[str] = []
    for value in (part.strip() for part in line.split("|")):
        values.append(values[-1] if value == "=" and values else "" if value == "~" else value)
    if len(values) != len(names):
        raise UserError(f"{len(values)} forms where {len(names)} are declared ({' '.join(names)}).", where=where)
    return {"": values[0], **dict(zip(names, values, strict=True))}


@cache
def load(code: str) -> Grammar:
    """The grammar of the language `code`, read once.

    Raises:
        UserError: no such language, or its tables are malformed.
    """
    if code not in codes():
        raise UserError(f"the phrasebook has no language {code!r}.", hint=nearest(code, codes()))
    table = read_table(f"lexicon/{code}.yaml")
    lexicon: Lexicon = {}
    for kind, values in inventory().literals.items():
        lexicon[kind] = {concept: {"": text, "plain": text, "id": concept} for concept, text in values.items()}
    for kind, entries in table["words"].items():
        names = entries.get("forms", "plain").split()
        lexicon[kind] = {
            concept: {**read_forms(names, line, f"lexicon/{code}.yaml, {kind}.{concept}"), "id": concept}
            for concept, line in entries.items()
            if concept != "forms"
        }
    module = f"hexapla.phrasebook.grammar.{code}"
    grammar = importlib.import_module(module).Grammar if importlib.util.find_spec(module) else Grammar
    made: Grammar = grammar(code, lexicon, table["patterns"])
    return made


def gaps(code: str) -> list[str]:
    """What the language `code` lacks or has too much, one line each; empty when it is complete."""
    grammar = load(code)
    wanted = inventory()
    found = [
        f"frame {name}: no pattern ({frame.note})"
        for name, frame in wanted.frames.items()
        if name not in grammar.frames
    ]
    unknown = set(read_table(f"lexicon/{code}.yaml")["patterns"]) - set(wanted.frames)
    found += [f"frame {name}: not in meanings.yaml" for name in sorted(unknown)]
    for kind, concepts in wanted.concepts.items():
        have = grammar.lexicon.get(kind, {})
        found += [f"{kind}.{concept}: no entry" for concept in concepts if concept not in have]
        found += [f"{kind}.{concept}: not in meanings.yaml" for concept in have if concept not in concepts]
        shapes = {tuple(sorted(forms)) for forms in have.values()}
        if len(shapes) > 1:
            found.append(f"{kind}: its concepts have different forms: {sorted(shapes)}")
    found += [f"kind {kind}: not in meanings.yaml" for kind in grammar.lexicon if kind not in wanted.concepts]
    if not found:
        found = _unsayable(grammar)
    return found


def _unsayable(grammar: Grammar) -> list[str]:
    """The first meaning of each frame that runs into a missing form or branch."""
    found = []
    for frame in inventory().frames.values():
        for meaning in inventory().meanings(frame):
            try:
                grammar.realize(meaning)
            except UserError as error:
                found.append(error.what)
                break
    return found
