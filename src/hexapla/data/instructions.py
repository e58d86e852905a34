"""General instructions beside translation: what AlignX's second stage mixes in, so that a model stays an assistant.

Files in the form of Stanford's Alpaca and of Bactrian-X (arXiv 2305.15011): records of `instruction`, `input` and
`output`, as JSON lines or one JSON list. A file is read twice: surveyed once, which holds nothing of what it says, and
read again for the instructions that a mix takes, which are all that is held.
"""

from __future__ import annotations

import heapq
import json
import re
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self

from pydantic import Field, field_validator, model_validator

from hexapla import languages
from hexapla.common.errors import UserError
from hexapla.common.seeds import derive_seed, stable_order, uniform
from hexapla.common.spec import Spec
from hexapla.common.textfiles import open_binary, read_lines
from hexapla.data.json_list import stream_json_list
from hexapla.data.mixing import MixSpec, check_mix_names, mix_shares
from hexapla.data.readers.base import SAFE_NAME, existing, require_file, stem

TRANSLATION = "translation"
"""Name of the translation examples in a mix with instructions."""
_PURPOSE = "instructions"  # names the choice among others by the same seed


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


@dataclass(frozen=True)
class InstructionFile:
    """A source that was surveyed; its instructions are read from the file whenever they are gone through.

    Attributes:
        num_instructions: records that can be used; at least one.
        num_bytes: of what they say, in UTF-8.
        set_asides: reason → records that cannot.
        repeats: numbers of the records whose id stood before.
    """

    source: InstructionSource
    num_instructions: int
    num_bytes: int
    set_asides: Mapping[str, int]
    repeats: frozenset[int]

    @classmethod
    def survey(cls, source: InstructionSource) -> InstructionFile:
        """Read a source once; 16 bytes a record are held meanwhile, and nothing of them afterwards.

        Reasons for setting a record aside: `invalid-utf8`, `not-json`, `not-a-record`, `no-instruction`, `no-output`,
        `not-text` (a field that is no string), `duplicate-id`. Ids are compared by 63-bit hashes: among a million, two
        different ones are taken for equal with a chance of 1 in 18 million.

        Raises:
            UserError: the file is missing, damaged, of another shape, or holds no usable record.
        """
        set_asides: Counter[str] = Counter()
        first_flaw = num_bytes = 0
        numbers, ids = array("q"), array("q")
        for number, found in _read(source):
            if isinstance(found, _Flaw):
                set_asides[found.reason] += 1
                first_flaw = first_flaw or number
            else:
                numbers.append(number)
                ids.append(derive_seed(0, found.id))
                num_bytes += len(f"{found.instruction}{found.input}{found.output}".encode())
        if not numbers:
            raise _nothing_usable(source, set_asides, first_flaw)
        repeats = _repeats(numbers, ids)
        if repeats:
            set_asides["duplicate-id"] = len(repeats)
        num_usable = len(numbers) - len(repeats)
        size = round(num_bytes * num_usable / len(numbers))
        return cls(source, num_usable, size, dict(sorted(set_asides.items())), repeats)

    def __len__(self) -> int:
        """Instructions that can be used."""
        return self.num_instructions

    def __iter__(self) -> Iterator[Instruction]:
        """They, in the order of the file.

        Raises:
            UserError: the file is not what was surveyed any more.
        """
        num_found = 0
        for number, found in _read(self.source):
            if isinstance(found, Instruction) and number not in self.repeats:
                num_found += 1
                yield found
        if num_found != self.num_instructions:
            raise UserError(
                f"This file was changed while it was used: it had {self.num_instructions} instructions and now has "
                f"{num_found}.",
                where=str(self.source.file),
                hint="Give the same command again.",
            )


class InstructionMix(NamedTuple):
    """What is trained on.

    Attributes:
        translations: positions of the translation examples that stay, in order; each is seen once.
        instructions: those that go with them; one that is to be seen again stands again, under an id of its own.
    """

    translations: list[int]
    instructions: list[Instruction]


class Instructions(Protocol):
    """What is mixed: an `InstructionFile`, or a list."""

    def __len__(self) -> int:
        """How many there are."""

    def __iter__(self) -> Iterator[Instruction]:
        """Every one, in order, as often as it is asked for."""


def mix_counts(spec: InstructionsSpec, sizes: Mapping[str, int]) -> dict[str, int]:
    """How much of each source stands in the mix, `TRANSLATION` among them.

    A source with more than its share is cut; of one with fewer, `exhaustion` says: `repeat` takes its instructions
    again, `drop` leaves it at one pass, `stop` cuts the others down, translation included, to the shares of the mix.

    Args:
        sizes: what there is of each source, and of `TRANSLATION`.

    Raises:
        UserError: there are no translation examples, or as `mix_shares`.
    """
    where = "data.instructions.mix"
    shares = mix_shares(spec.mix, sizes, where)
    if not shares[TRANSLATION]:
        raise UserError("There are no translation examples to mix instructions with.", where=where)
    lengths = {name: sizes[name] / share for name, share in shares.items() if share}
    length = min(lengths.values()) if spec.mix.exhaustion == "stop" else lengths[TRANSLATION]
    counts = {name: round(length * share) for name, share in shares.items()}
    if spec.mix.exhaustion != "repeat":
        return {name: min(count, sizes[name]) for name, count in counts.items()}
    return {**counts, TRANSLATION: min(counts[TRANSLATION], sizes[TRANSLATION])}


def mix_instructions(
    spec: InstructionsSpec,
    instructions: Mapping[str, Instructions],
    translations: Sequence[str],
    seed: int,
) -> InstructionMix:
    """As many instructions as their shares ask for beside one pass over the translation examples (`mix_counts`).

    Which ones is a hash of (seed, id). Of a source that is cut no more than those are held.

    Args:
        instructions: source → its instructions, an `InstructionFile` each or lists.
        translations: ids of the translation examples.

    Raises:
        UserError: as `mix_counts`; or a file was changed since it was surveyed.
    """
    sizes = {TRANSLATION: len(translations), **{name: len(found) for name, found in instructions.items()}}
    counts = mix_counts(spec, sizes)
    chosen = [each for name, found in instructions.items() for each in _sample(found, counts[name], seed)]
    order = stable_order(seed, list(translations), _PURPOSE, TRANSLATION)
    return InstructionMix(sorted(order[: counts[TRANSLATION]]), chosen)


def _sample(instructions: Instructions, number: int, seed: int) -> Iterator[Instruction]:
    """So many of them: as many passes as it takes, the last one cut; each in its own order."""
    size = len(instructions)
    held = list(instructions) if number >= size else _first_pass(instructions, number, seed) if number else []
    ids = [each.id for each in held]
    for first in range(0, number, max(size, 1)):
        times = first // size + 1
        for position in stable_order(seed, ids, _PURPOSE, times)[: number - first]:
            each = held[position]
            yield each if times == 1 else replace(each, id=f"{each.id} ({times})")


def _first_pass(instructions: Instructions, number: int, seed: int) -> list[Instruction]:
    """Those that the first pass takes when it is cut, in their order, and the one that would be next.

    That one more is for `stable_order`, which tells apart what the 53 bits of a float do not.
    """
    ranked = ((uniform(seed, _PURPOSE, 1, each.id), place, each) for place, each in enumerate(instructions))
    return [each for _, _, each in sorted(heapq.nsmallest(number + 1, ranked), key=lambda found: found[1])]


def _read(source: InstructionSource) -> Iterator[tuple[int, Instruction | _Flaw]]:
    """Every record with its number: its line, or its place in the list."""
    file, prefix = source.file, f"{source.source}#"
    require_file(file)
    with open_binary(file) as opened:
        head = opened.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()
    for number, record in enumerate(stream_json_list(file), 1) if head.startswith(b"[") else _records(file):
        yield number, record if isinstance(record, _Flaw) else _instruction(prefix, number, record, source.language)


def _records(file: Path) -> Iterator[tuple[int, Any]]:
    """Line and record, or what is wrong with it, of JSON lines; blank ones are passed over."""
    for number, line in enumerate(read_lines(file), 1):
        if line is None:
            yield number, _Flaw("invalid-utf8")
        elif line.strip():
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError):
                yield number, _Flaw("not-json")


def _instruction(prefix: str, number: int, record: Any, language: str | None) -> Instruction | _Flaw:
    if not isinstance(record, dict):
        return _Flaw("not-a-record")
    fields = {key: record.get(key) for key in ("instruction", "input", "output")}
    if not all(value is None or isinstance(value, str) for value in fields.values()):
        return _Flaw("not-text")
    texts = {key: (value or "").strip() for key, value in fields.items()}
    try:
        "".join(texts.values()).encode()
    except UnicodeEncodeError:  # half a character, which JSON can write and UTF-8 cannot
        return _Flaw("invalid-utf8")
    for key in ("instruction", "output"):
        if not texts[key]:
            return _Flaw(f"no-{key}")
    own = record.get("id")
    id_ = f"{prefix}{number if own in (None, '') else own}"
    return Instruction(id_, language, texts["instruction"], texts["input"], texts["output"])


def _repeats(numbers: array[int], ids: array[int]) -> frozenset[int]:
    """Numbers of the records whose id stood before.

    Args:
        ids: hashes of the ids of these records.
    """
    import numpy as np

    hashes = np.frombuffer(ids, dtype=np.int64)
    order = hashes.argsort(kind="stable")
    is_repeat = np.diff(hashes[order], prepend=-1) == 0  # hashes are not negative
    return frozenset(np.frombuffer(numbers, dtype=np.int64)[order[is_repeat]].tolist())


def _nothing_usable(source: InstructionSource, set_asides: Mapping[str, int], first_flaw: int) -> UserError:
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(set_asides.items()))
    return UserError(
        "This file holds no instruction that can be used" + (f" ({reasons})." if reasons else ": it is empty."),
        where=f"{source.file}:{first_flaw}" if first_flaw else str(source.file),
        hint="It needs a record a line, or one list of records, with the keys instruction, input (may be "
        "missing) and output, all of them strings.",
    )


class _Flaw(NamedTuple):
    """Why a record cannot be used."""

    reason: str
