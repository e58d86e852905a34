"""Which auxiliary language a prompt shows beside the source (PMP; LMT, arXiv 2511.07003), and how often rows hold it.

A choice belongs to a pair of a hub and another language and serves both of its directions. It depends on the languages
of the recipe alone (the method `distance`: and on the distances it is given), never on the rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import NamedTuple

from hexapla import languages
from hexapla.common.errors import UserError, nearest
from hexapla.common.seeds import uniform
from hexapla.data.pmp import PmpSpec
from hexapla.data.rows import Row
from hexapla.languages import Direction

_ENGLISH = "en"
_RESOURCES = ("high", "mid", "low")

Distances = Mapping[str, Mapping[str, float]]
"""Language → language → distance, both ways."""


class Choice(NamedTuple):
    """The auxiliary language of a pair.

    Attributes:
        code: None: the pair's prompts are plain.
        found: how: `table`, `hub` (another hub of the recipe, where the table names English), `family`, `script`,
            `distance`, `random`; `fallback-family` and `fallback-script` where the choice was not to be had; `none`.
    """

    code: str | None
    found: str


_NONE = Choice(None, "none")


@dataclass(frozen=True)
class Auxiliaries:
    """Auxiliary languages.

    Attributes:
        choices: (hub, other language) → choice; of two hubs, the one that the recipe names first is the hub.
    """

    choices: Mapping[tuple[str, str], Choice] = field(default_factory=dict)

    def of(self, direction: Direction) -> str | None:
        """The auxiliary language of a direction; None where it has none."""
        pair = (direction.source, direction.target)
        choice = self.choices.get(pair) or self.choices.get(pair[::-1])
        return None if choice is None else choice.code

    def by_direction(self, directions: Iterable[Direction]) -> dict[Direction, str]:
        """The directions that have an auxiliary language."""
        found = ((direction, self.of(direction)) for direction in directions)
        return {direction: code for direction, code in found if code is not None}


class Coverage(NamedTuple):
    """How much of the rows of a pair an auxiliary language covers.

    Attributes:
        num_rows: rows that have both languages of the pair.
        num_covered: of these, rows that have the auxiliary language as well.
    """

    hub: str
    other: str
    choice: Choice
    num_rows: int
    num_covered: int

    @property
    def share(self) -> float | None:
        """Share of the rows that are covered; None without rows."""
        return self.num_covered / self.num_rows if self.num_rows else None


def choose_auxiliaries(
    spec: PmpSpec,
    codes: Sequence[str],
    hubs: Sequence[str],
    *,
    distances: Distances | None = None,
    seed: int,
) -> Auxiliaries:
    """Choose for every pair of a hub and another language.

    Candidates are the recipe's languages that are not in the pair. By method:

    * `lmt`: between English and a language the table of LMT's paper. The paper has a second hub, Chinese, whose pairs
      take English; so does every other hub: the first hub that is not in the pair. With the hubs en, zh, ja this is en
      for zh ↔ X, ja ↔ X and zh ↔ ja (ours). Where the table leaves one of LMT's languages without, there is none and
      no fallback.
    * `typology`: the nearest of the same family, else of the same script; nearest: same subgroup, same script, more
      resources, earlier in the recipe.
    * `distance`: the nearest by `distances`.
    * `random`: by hash of (seed, pair, candidate).
    * `none`: none.

    The fallback is `typology`: where the choice is not among the recipe's languages, where the table does not cover the
    pair (a language that is none of LMT's with English; no third hub), where no candidate has a distance.

    Args:
        codes: the recipe's languages, hubs included.
        distances: for the method `distance` (see `hexapla.data.representations`).

    Raises:
        UserError: a hub is not among the languages; the method needs distances and has none.
    """
    if strangers := [hub for hub in hubs if hub not in codes]:
        raise UserError(
            f"The hub {strangers[0]} is not among the languages.", where="hubs", hint=nearest(strangers[0], codes)
        )
    if spec.auxiliary == "distance" and distances is None:
        raise UserError("There are no distances between the languages to choose by.", where="data.pmp.auxiliary")
    others = [code for code in codes if code not in hubs]
    pairs = [*combinations(hubs, 2), *((hub, other) for hub in hubs for other in others)]
    return Auxiliaries(
        {
            pair: _choose(spec, pair, [code for code in codes if code not in pair], hubs, distances, seed)
            for pair in pairs
        }
    )


def coverage(auxiliaries: Auxiliaries, rows: Iterable[Row]) -> list[Coverage]:
    """How many rows hold the auxiliary language of every pair, in the order of the choices."""
    num_rows: Counter[tuple[str, str]] = Counter()
    num_covered: Counter[tuple[str, str]] = Counter()
    for row in rows:
        for pair, choice in auxiliaries.choices.items():
            if pair[0] in row.texts and pair[1] in row.texts:
                num_rows[pair] += 1
                num_covered[pair] += choice.code in row.texts
    return [Coverage(*pair, choice, num_rows[pair], num_covered[pair]) for pair, choice in auxiliaries.choices.items()]


def _choose(
    spec: PmpSpec,
    pair: tuple[str, str],
    candidates: Sequence[str],
    hubs: Sequence[str],
    distances: Distances | None,
    seed: int,
) -> Choice:
    choice = _wanted(spec, pair, candidates, hubs, distances, seed)
    if choice is not None and (choice.code is None or choice.code in candidates):
        return choice
    return _relative(pair[1], candidates, "fallback-") if spec.fallback else _NONE


def _wanted(
    spec: PmpSpec,
    pair: tuple[str, str],
    candidates: Sequence[str],
    hubs: Sequence[str],
    distances: Distances | None,
    seed: int,
) -> Choice | None:
    """The method's choice; the table's may be no candidate. None: the method does not cover the pair."""
    hub, other = pair
    if spec.auxiliary == "lmt":
        return _from_table(pair, hubs)
    if spec.auxiliary == "typology":
        return _relative(other, candidates)
    if spec.auxiliary == "distance":
        known = (distances or {}).get(other, {})
        near = sorted((known[code], code) for code in candidates if code in known)
        return Choice(near[0][1], "distance") if near else None
    if spec.auxiliary == "random" and candidates:
        return Choice(min(candidates, key=lambda code: uniform(seed, "auxiliary", hub, other, code)), "random")
    return _NONE


def _from_table(pair: tuple[str, str], hubs: Sequence[str]) -> Choice | None:
    """The paper's choice, whether or not it is among the recipe's languages; None where the paper says nothing."""
    if _ENGLISH in pair:
        other = languages.get(pair[0] if pair[1] == _ENGLISH else pair[1])
        if other.auxiliary is not None:
            return Choice(other.auxiliary, "table")
        return _NONE if other.lmt else None
    third = [hub for hub in hubs if hub not in pair]
    return Choice(third[0], "hub") if third else None


def _relative(other: str, candidates: Sequence[str], prefix: str = "") -> Choice:
    """The nearest of the same family, else of the same script, else none."""
    language = languages.get(other)

    def rank(position: int) -> tuple[bool, bool, int, int]:
        candidate = languages.get(candidates[position])
        return (
            candidate.family != language.family or candidate.subgroup != language.subgroup,
            candidate.script != language.script,
            _RESOURCES.index(candidate.resource),
            position,
        )

    ranked = [candidates[position] for position in sorted(range(len(candidates)), key=rank)]
    for fact in ("family", "script"):
        for code in ranked:
            if getattr(languages.get(code), fact) == getattr(language, fact):
                return Choice(code, prefix + fact)
    return _NONE
