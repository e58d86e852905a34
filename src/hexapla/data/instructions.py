"""General instructions beside translation: what AlignX's second stage mixes in, so that a model stays an assistant.

Files in the form of Stanford's Alpaca and of Bactrian-X (arXiv 2305.15011): records of `instruction`, `input` and
`output`, as JSON lines or one JSON list.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Self

from pydantic import Field, field_validator, model_validator

from hexapla import languages
from hexapla.common.errors import UserError
from hexapla.common.seeds import stable_order
from hexapla.common.spec import Spec
from hexapla.common.textfiles import open_binary, read_lines
from hexapla.data.mixing import MixSpec, check_mix_names, mix_shares
from hexapla.data.readers.base import SAFE_NAME, existing, require_file, stem

TRANSLATION = "translation"
"""Name of the translation examples in a mix with instructions."""
_SURROGATE = re.compile("[\ud800-\udfff]")  # half a character, which JSON can write and UTF-8 cannot


@dataclass(frozen=True, slots=True)
class Instruction:
    """One thing to answer. The prompt is rendered where it is tokenised.

    Attributes:
        id: `SOURCE#N`, or `SOURCE#ID` where the record has an id; N is its line, or its place in the list from 1. What
            stands in a mix again has ` (2)`, ` (3)` and so on behind it.
        language: code of the language it is in; None: not said.
        input: what the instruction is about; empty: nothing.
    """

    id: str
    language: str | None
    instruction: str
    input: str
    output: str


class InstructionSource(Spec):
    """A file of instructions: JSON lines or one JSON list, plain, .gz or .zst."""

    path: str = Field(description="File, relative to the current folder.")
    name: str | None = Field(
        default=None,
        pattern=SAFE_NAME.pattern,
        description="Name in mixes and ids; null: the file's, without its endings.",
    )
    language: str | None = Field(default=None, description="Language that it is in, for counts; null: not said.")

    @field_validator("language")
    @classmethod
    def _canonical(cls, value: str | None) -> str | None:
        try:
            return None if value is None else languages.get(value).code
        except UserError as error:
            raise ValueError(error.paragraph()) from error

    @property
    def source(self) -> str:
        """The name of the source."""
        return self.name or re.sub(r"[^A-Za-z0-9._-]+", "_", stem(Path(self.path))).strip("._-") or "instructions"

    @property
    def file(self) -> Path:
        """The file as it lies there: `path`, or the same with a compression ending."""
        return existing(Path(self.path))


class InstructionsSpec(Spec):
    """General instructions to train on with the translation examples of the one model or adapter for all directions."""

    sources: tuple[InstructionSource, ...] = Field(description="Files of instructions.")
    mix: MixSpec = Field(
        default_factory=lambda: MixSpec(unit="rows"),
        description="Shares of `translation` and of every source, by name, counted in rows; null weights: as they are. "
        "The mix is as long as one pass over the translation examples.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.sources:
            raise ValueError("sources: at least one file is needed")
        if self.mix.unit != "rows":
            raise ValueError("mix.unit: examples are counted in rows")
        names = [source.source for source in self.sources]
        if TRANSLATION in names:
            raise ValueError(f"sources: the name {TRANSLATION} stands for the translation examples; give another name")
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"sources: two files are called {', '.join(twice)}; give one of them another name")
        try:
            check_mix_names(self.mix, (TRANSLATION, *names), "mix.weights")
        except UserError as error:
            raise ValueError(error.paragraph()) from error
        if self.mix.weights is not None and not self.mix.weights[TRANSLATION]:
            raise ValueError(f"mix.weights.{TRANSLATION}: must be above 0, the mix is as long as the translations are")
        return self


class LoadedInstructions(NamedTuple):
    """The instructions of some sources, in the order of their files.

    Attributes:
        by_source: source → its instructions, at least one.
        set_asides: source → reason → records that cannot be used.
    """

    by_source: dict[str, list[Instruction]]
    set_asides: dict[str, dict[str, int]]


def load_instructions(spec: InstructionsSpec) -> LoadedInstructions:
    """Read every source.

    Reasons for setting a record aside: `invalid-utf8`, `not-json`, `not-a-record`, `no-instruction`, `no-output`,
    `not-text` (a field that is no string), `duplicate-id`.

    Raises:
        UserError: a file is missing, damaged, of another shape, or holds no usable record.
    """
    loaded = LoadedInstructions({}, {})
    for source in spec.sources:
        reader = _SourceReader(source)
        loaded.by_source[source.source] = reader.read()
        loaded.set_asides[source.source] = dict(sorted(reader.set_asides.items()))
    return loaded


class InstructionMix(NamedTuple):
    """What is trained on.

    Attributes:
        translations: positions of the translation examples that stay, in order; each is seen once.
        instructions: those that go with them; one that is to be seen again stands again, under an id of its own.
    """

    translations: list[int]
    instructions: list[Instruction]


def mix_instructions(
    spec: InstructionsSpec,
    instructions: Mapping[str, Sequence[Instruction]],
    translations: Sequence[str],
    seed: int,
) -> InstructionMix:
    """As many instructions as their shares ask for beside one pass over the translation examples.

    Which ones is a hash of (seed, id). A source with more than its share is cut; of one with fewer, `exhaustion` says:
    `repeat` takes its instructions again, `drop` leaves it at one pass, `stop` cuts the others down, translation
    included, to the shares of the mix.

    Args:
        instructions: source → its instructions (`load_instructions`).
        translations: ids of the translation examples.

    Raises:
        UserError: there are no translation examples, or as `mix_shares`.
    """
    sizes = {TRANSLATION: len(translations), **{name: len(found) for name, found in instructions.items()}}
    where = "data.instructions.mix"
    shares = {name: share for name, share in mix_shares(spec.mix, sizes, where).items() if share}
    if TRANSLATION not in shares:
        raise UserError("There are no translation examples to mix instructions with.", where=where)
    lengths = {name: sizes[name] / share for name, share in shares.items()}
    length = min(lengths.values()) if spec.mix.exhaustion == "stop" else lengths[TRANSLATION]
    chosen: list[Instruction] = []
    for name in instructions:
        wanted = round(length * shares.get(name, 0.0))
        if spec.mix.exhaustion != "repeat":
            wanted = min(wanted, sizes[name])
        chosen += _sample(instructions[name], wanted, seed)
    num_translations = min(round(length * shares[TRANSLATION]), len(translations))
    order = stable_order(seed, list(translations), "instructions", TRANSLATION)
    return InstructionMix(sorted(order[:num_translations]), chosen)


def _sample(instructions: Sequence[Instruction], number: int, seed: int) -> Iterator[Instruction]:
    """So many of them: as many passes as it takes, the last one cut; each in its own order."""
    ids = [each.id for each in instructions]
    for first in range(0, number, max(len(ids), 1)):
        times = first // len(ids) + 1
        for position in stable_order(seed, ids, "instructions", times)[: number - first]:
            each = instructions[position]
            yield each if times == 1 else replace(each, id=f"{each.id} ({times})")


class _SourceReader:
    """Reads a file once, and counts what it sets aside."""

    def __init__(self, source: InstructionSource) -> None:
        self.set_asides: Counter[str] = Counter()
        self._source, self._file = source, source.file
        self._first_flaw = 0
        self._ids: set[str] = set()

    def read(self) -> list[Instruction]:
        """The usable records, in order."""
        require_file(self._file)
        found = []
        for number, record in self._records():
            made = self._instruction(number, record) if not isinstance(record, _Flaw) else record
            if isinstance(made, _Flaw):
                self.set_asides[made.reason] += 1
                self._first_flaw = self._first_flaw or number
            else:
                found.append(made)
        if not found:
            reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(self.set_asides.items()))
            raise UserError(
                "This file holds no instruction that can be used" + (f" ({reasons})." if reasons else ": it is empty."),
                where=f"{self._file}:{self._first_flaw}" if self._first_flaw else str(self._file),
                hint="It needs a record a line, or one list of records, with the keys instruction, input (may be "
                "missing) and output, all of them strings.",
            )
        return found

    def _records(self) -> Iterator[tuple[int, Any]]:
        """Every record, parsed, with its line or its place in the list."""
        with open_binary(self._file) as file:
            head = file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()
        if head.startswith(b"["):
            yield from enumerate(self._list(), 1)
            return
        for number, line in enumerate(read_lines(self._file), 1):
            if line is None:
                yield number, _Flaw("invalid-utf8")
            elif line.strip():
                try:
                    yield number, json.loads(line)
                except (ValueError, RecursionError):
                    yield number, _Flaw("not-json")

    def _list(self) -> list[Any]:
        with open_binary(self._file) as file:
            content = file.read()
        try:
            value: list[Any] = json.loads(content.decode("utf-8-sig"))
        except UnicodeDecodeError as error:
            line = content[: error.start].count(b"\n") + 1
            raise UserError("This line is not valid UTF-8.", where=f"{self._file}:{line}") from error
        except (ValueError, RecursionError) as error:
            raise UserError(f"This JSON list cannot be read ({error}).", where=str(self._file)) from error
        return value

    def _instruction(self, number: int, record: Any) -> Instruction | _Flaw:
        if not isinstance(record, dict):
            return _Flaw("not-a-record")
        fields = {key: record.get(key) for key in ("instruction", "input", "output")}
        if not all(value is None or isinstance(value, str) for value in fields.values()):
            return _Flaw("not-text")
        texts = {key: (value or "").strip() for key, value in fields.items()}
        if any(map(_SURROGATE.search, texts.values())):
            return _Flaw("invalid-utf8")
        for key in ("instruction", "output"):
            if not texts[key]:
                return _Flaw(f"no-{key}")
        own = record.get("id")
        id_ = f"{self._source.source}#{number if own in (None, '') else own}"
        if id_ in self._ids:
            return _Flaw("duplicate-id")
        self._ids.add(id_)
        return Instruction(id_, self._source.language, texts["instruction"], texts["input"], texts["output"])


class _Flaw(NamedTuple):
    """Why a record cannot be used."""

    reason: str
