"""Proof-reading: `python -m hexapla.phrasebook.show de` prints sentences beside English, every entry at least once."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from hexapla.common.errors import UserError
from hexapla.phrasebook.corpus import sampled
from hexapla.phrasebook.language import codes, gaps, load
from hexapla.phrasebook.meanings import Meaning, inventory


def samples(frame_name: str, most: int) -> Iterator[Meaning]:
    """Meanings of one frame that show each filler of each slot once, in few sentences (at most `most`)."""
    frame = inventory().frames[frame_name]
    unseen = {(slot, concept) for slot, concepts in frame.candidates.items() for concept in concepts}
    for want in range(len(frame.candidates), 0, -1):
        for meaning in inventory().meanings(frame):
            new = unseen & set(meaning.fillers.items())
            if len(new) >= want and most > 0:
                unseen -= new
                most -= 1
                yield meaning


def golden(code: str) -> Iterator[str]:
    """The lines of the golden file: of each frame the first row of the default sample, as `id<TAB>sentence`."""
    shown = set()
    for meaning, _, _ in sampled():
        if meaning.frame not in shown:
            shown.add(meaning.frame)
            yield f"{meaning.id}\t{load(code).realize(meaning)}"


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code (2 when the language is incomplete or unknown)."""
    parser = argparse.ArgumentParser(prog="python -m hexapla.phrasebook.show", description=__doc__)
    parser.add_argument("code", help=f"language: {' '.join(codes())}")
    parser.add_argument("--frame", help="only this frame")
    parser.add_argument("--limit", type=int, default=20, help="at most so many sentences of each frame (default 20)")
    parser.add_argument("--golden", action="store_true", help="print the golden file instead")
    chosen = parser.parse_args(arguments)
    try:
        if chosen.golden:
            print("\n".join(golden(chosen.code)))
            return 0
        missing = gaps(chosen.code)
        print("\n".join(missing) or "complete: every frame and every concept")
        grammar, english = load(chosen.code), load("en")
        for name in inventory().frames if chosen.frame is None else [chosen.frame]:
            if name not in grammar.frames:
                continue
            print(f"\n{name}")
            for meaning in samples(name, chosen.limit):
                print(f"  {english.realize(meaning)}\n    {grammar.realize(meaning)}")
    except UserError as error:
        print(error)
        return 2
    return 2 if missing else 0


if __name__ == "__main__":
    raise SystemExit(main())
