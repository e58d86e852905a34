"""Sources, translators whose work is counted and can be interrupted, and the stage with everything filled in."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hexapla.common.progress import EventLog
from hexapla.synthesize.spec import SynthesizeSpec
from hexapla.synthesize.stage import ROWS_FILE, SUMMARY_FILE, Maker, synthesize_corpus

MAKER = Maker("lmt", "0123456789abcdef")
LABEL = "lmt@0123456789ab"


@dataclass(frozen=True)
class Said:
    """A translation as the translator gives it."""

    text: str
    finish: str = "stop"


@dataclass
class Scripted:
    """Says what `say` says of a text and its direction; stops dead after `fail_after` translations."""

    say: Callable[[str, str], Said | str]
    fail_after: int | None = None
    asked: list[tuple[str, str]] = field(default_factory=list)
    pool: None = None

    def translate_requests(self, requests: Iterable[Any]) -> Iterator[tuple[int, Said]]:
        """As the translator's, in another order than asked."""
        for position, request in reversed(list(enumerate(requests))):
            if len(self.asked) == self.fail_after:
                raise KeyboardInterrupt
            self.asked.append((request.text, str(request.direction)))
            said = self.say(*self.asked[-1])
            yield position, said if isinstance(said, Said) else Said(said)


@dataclass
class Corpus:
    """What a run wrote."""

    rows: list[dict[str, Any]]
    summary: dict[str, Any]
    content: bytes


@dataclass
class World:
    """A folder with sources, and the stage."""

    folder: Path
    num_runs: int = 0

    def text(self, *lines: str, name: str = "mono") -> dict[str, Any]:
        """The settings of a corpus of English lines."""
        path = self.folder / f"{name}.txt"
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return {"reader": "text", "path": str(path), "language": "en"}

    def spec(self, *lines: str, **settings: Any) -> SynthesizeSpec:
        """A spec from English into German and French, greedy."""
        given: dict[str, Any] = {"name": "syn", "source": "en", "targets": ["de", "fr"], "translate": {"beams": 1}}
        sources = {"sources": [self.text(*lines)]} if lines else {}
        return SynthesizeSpec.model_validate({**given, **sources, **settings})

    def run(self, spec: SynthesizeSpec, translator: Any, maker: Maker = MAKER) -> Corpus:
        """Run the stage into a new folder; translations are those of all runs. None: no translator may be needed."""
        self.num_runs += 1
        out = self.folder / f"out-{self.num_runs}"
        out.mkdir()

        def make() -> Any:
            assert translator is not None, "a translator was asked for"
            return translator

        translations = self.folder / "translations"
        synthesize_corpus(spec, maker, make, folder=out, translations=translations, log=EventLog(None))
        content = (out / ROWS_FILE).read_bytes()
        rows = [json.loads(line) for line in content.decode().split("\n") if line]
        return Corpus(rows, json.loads((out / SUMMARY_FILE).read_text(encoding="utf-8")), content)
