"""What the phrasebook can say, apart from any language: frames, the concepts that fill them, their combinations."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache

from hexapla.phrasebook.tables import read_table


@dataclass(frozen=True, slots=True)
class Meaning:
    """One thing to say: a frame and, slot by slot in the frame's order, the concepts in it."""

    frame: str
    fillers: dict[str, str]

    @property
    def id(self) -> str:
        """The stable name, such as `phrasebook:order:two+coffee`."""
        return f"phrasebook:{self.frame}:{'+'.join(self.fillers.values())}"


@dataclass(frozen=True)
class Frame:
    """A kind of sentence. `kinds` gives the kind of each slot, `candidates` the concepts allowed in it."""

    name: str
    domain: str
    note: str
    kinds: dict[str, str]
    candidates: dict[str, tuple[str, ...]]
    agree: tuple[str, ...]
    total: str | None


@dataclass(frozen=True)
class Inventory:
    """All frames and all concepts: `concepts[kind][concept]` is the concept's set of tags."""

    frames: dict[str, Frame]
    concepts: dict[str, dict[str, frozenset[str]]]
    literals: dict[str, dict[str, str]]

    def meanings(self, frame: Frame) -> Iterator[Meaning]:
        """Every meaning of `frame`, in the order of the tables."""
        slots = list(frame.candidates)
        same_kind = [
            (i, j)
            for i, j in itertools.combinations(range(len(slots)), 2)
            if frame.kinds[slots[i]] == frame.kinds[slots[j]] and frame.total is None
        ]
        pair = [slots.index(slot) for slot in frame.agree]
        tags = [self.concepts[frame.kinds[slot]] for slot in slots]
        numbers = list(self.concepts["number"])
        for chosen in itertools.product(*frame.candidates.values()):
            if any(chosen[i] == chosen[j] for i, j in same_kind):
                continue
            if pair and not tags[pair[0]][chosen[pair[0]]] & tags[pair[1]][chosen[pair[1]]]:
                continue
            fillers = dict(zip(slots, chosen, strict=True))
            if frame.total is not None:
                total = sum(numbers.index(concept) + 1 for concept in chosen)
                if total > len(numbers):
                    continue
                fillers[frame.total] = numbers[total - 1]
            yield Meaning(frame.name, fillers)


def _frame(name: str, entry: Mapping[str, object], concepts: dict[str, dict[str, frozenset[str]]]) -> Frame:
    slots = entry["slots"]
    assert isinstance(slots, dict)
    skipped = entry.get("skip")
    kinds, candidates = {}, {}
    for slot, choice in slots.items():
        kind, _, tag = choice.partition("/")
        kinds[slot] = kind
        candidates[slot] = tuple(
            concept
            for concept, tags in concepts[kind].items()
            if (not tag or tag in tags) and (skipped is None or skipped not in tags)
        )
        assert candidates[slot], f"{name}.{slot}"
    total = entry.get("sum")
    if total is not None:
        kinds[str(total)] = "number"
    agree = entry.get("agree", ())
    assert isinstance(agree, list | tuple)
    return Frame(
        name=name,
        domain=str(entry["domain"]),
        note=str(entry["note"]),
        kinds=kinds,
        candidates=candidates,
        agree=tuple(agree),
        total=None if total is None else str(total),
    )


@cache
def inventory() -> Inventory:
    """The inventory of `meanings.yaml`, read once."""
    table = read_table("meanings.yaml")
    concepts = {
        kind: {concept: frozenset(tags.split()) for concept, tags in entries.items()}
        for kind, entries in table["kinds"].items()
    }
    frames = {name: _frame(name, entry, concepts) for name, entry in table["frames"].items()}
    return Inventory(frames=frames, concepts=concepts, literals=table["literals"])
