"""From texts and directions to translations: routes, prompts, batches, one engine.

Requests of any directions are sorted by length and cut into batches under a token budget; rows of different directions
and adapters share a batch. What a request yields depends on its company only through the order of floating-point sums.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from hexapla import prompts
from hexapla.base import Base
from hexapla.languages import Direction
from hexapla.pool import Pool
from hexapla.tokenization import encode_prompts
from hexapla.translate.engines.engine import Decoded, DecodeRequest, Engine, Finish
from hexapla.translate.engines.torch_engine import TorchEngine
from hexapla.translate.spec import TranslateSpec

REQUESTS_PER_WINDOW = 8192
"""Requests that are sorted together: enough for batches of equal length, few enough to stream a file (assumption)."""


@dataclass(frozen=True, slots=True)
class Request:
    """A text to translate, one line, and its direction."""

    text: str
    direction: Direction


@dataclass(frozen=True, slots=True)
class Translation:
    """The translation of one request.

    Attributes:
        text: one line; blank when the source is blank or too long.
        finish: why it ended (see `engines.engine.Finish`).
        num_tokens: tokens of the output.
        score: log-probability over length to the power of the length penalty; 0 when the model was not run.
    """

    text: str
    finish: Finish
    num_tokens: int
    score: float


@dataclass(frozen=True, slots=True)
class _Waiting:
    index: int
    decode: DecodeRequest


class Translator:
    """Translates with a pool, or with a bare base.

    Args:
        pool: a pool, its folder, or a base to be used without adapters in any direction.
        spec: how to search; the defaults when not given.
        base: where the pool's base lies, when it is not where `pool.json` says.
        device: None for the GPU where there is one.
        engine: a base that is loaded already, shared by several translators; `base` and `device` are then its own.
        template: name of the prompt template, for a bare base only.

    Raises:
        UserError: the pool, the base or the template cannot be used, or do not belong together.
    """

    def __init__(
        self,
        pool: Pool | Path | str | Base,
        spec: TranslateSpec | None = None,
        *,
        base: Base | None = None,
        device: torch.device | str | None = None,
        engine: Engine | None = None,
        template: str = "alma",
    ) -> None:
        self.spec = spec if spec is not None else TranslateSpec()
        loaded = Pool.load(pool) if isinstance(pool, (str, Path)) else pool
        self.pool = loaded if isinstance(loaded, Pool) else None
        wanted = loaded.description.base if isinstance(loaded, Pool) else loaded
        if engine is not None:
            wanted = engine.base
        elif base is not None:
            wanted = base
        if self.pool is not None:
            self.pool.require_base(wanted)
        self.engine = (
            engine if engine is not None else TorchEngine(wanted, precision=self.spec.precision, device=device)
        )
        if self.pool is not None:
            self._template = self.pool.require_template(self.engine.tokenizer)
            adapters = {name: self.pool.read_adapter(name) for name in self.pool.adapters}
        else:
            self._template = prompts.get_template(template)
            adapters = {}
        self._adapters = self.engine.load_adapters(adapters)
        self._frame_tokens: dict[Direction, int] = {}

    def translate(self, texts: str | Sequence[str], *, source: str, target: str) -> list[Translation]:
        """Translate lines from one language into another, each named by any spelling.

        Raises:
            UserError: an unknown language, or a direction that the pool does not have.
        """
        direction = Direction.parse(f"{source}->{target}")
        self.require_direction(direction)
        requests = [Request(text, direction) for text in ([texts] if isinstance(texts, str) else texts)]
        translations = dict(self.translate_requests(requests))
        return [translations[index] for index in range(len(requests))]

    def translate_requests(self, requests: Iterable[Request]) -> Iterator[tuple[int, Translation]]:
        """Translate requests of any directions; yields (position of the request, translation) as batches finish.

        The iterable is read in windows, so that it may be endless; every request is answered once.

        Raises:
            UserError: a request's direction is not in the pool.
        """
        numbered = enumerate(requests)
        while window := list(itertools.islice(numbered, REQUESTS_PER_WINDOW)):
            answered, waiting = self._prepare(window)
            yield from answered
            for batch in self._batches(waiting):
                decoded = self.engine.decode([item.decode for item in batch], self._adapters, self.spec)
                for item, output in zip(batch, decoded, strict=True):
                    yield item.index, self._translation(output)

    def require_direction(self, direction: Direction) -> None:
        """Refuse a direction that the pool does not have.

        Raises:
            UserError: it is none of the pool's routes.
        """
        if self.pool is not None:
            self.pool.route(direction)

    def _prepare(self, window: list[tuple[int, Request]]) -> tuple[list[tuple[int, Translation]], list[_Waiting]]:
        """Answer what needs no model; encode and bound the rest."""
        adapters = [self.pool.route(request.direction) if self.pool is not None else None for _, request in window]
        sources = [(request.direction, _one_line(request.text)) for _, request in window]
        answered = [
            (index, Translation("", "empty-source", 0, 0.0))
            for (index, _), (_, text) in zip(window, sources, strict=True)
            if not text
        ]
        filled = [place for place, (_, text) in enumerate(sources) if text]
        encoded = encode_prompts(self.engine.tokenizer, self._template, [sources[place] for place in filled])
        waiting = []
        for place, prompt in zip(filled, encoded, strict=True):
            index, adapter = window[place][0], adapters[place]
            num_source = max(1, len(prompt) - self._num_frame_tokens(sources[place][0]))
            room = self.engine.window - len(prompt)
            if room < num_source:
                answered.append((index, Translation("", "too-long", 0, 0.0)))
                continue
            bound = int(self.spec.max_length_ratio * num_source) + self.spec.max_extra_tokens
            waiting.append(_Waiting(index, DecodeRequest(prompt, adapter, min(bound, room))))
        return answered, waiting

    def _batches(self, waiting: list[_Waiting]) -> Iterator[list[_Waiting]]:
        """Longest prompts first, so that what does not fit in memory shows at once; equal adapters side by side."""
        ordered = sorted(waiting, key=lambda item: (-len(item.decode.prompt), item.decode.adapter or "", item.index))
        start = 0
        while start < len(ordered):
            tokens_a_row = len(ordered[start].decode.prompt) * self.spec.beams
            num_rows = max(1, self.spec.batch_tokens // tokens_a_row)
            yield ordered[start : start + num_rows]
            start += num_rows

    def _num_frame_tokens(self, direction: Direction) -> int:
        """Tokens of a prompt in this direction that are not its source."""
        if direction not in self._frame_tokens:
            [frame] = encode_prompts(self.engine.tokenizer, self._template, [(direction, "")])
            self._frame_tokens[direction] = len(frame)
        return self._frame_tokens[direction]

    def _translation(self, output: Decoded) -> Translation:
        text = self.engine.tokenizer.decode(output.tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        first_line = text.strip().partition("\n")[0]
        return Translation(_one_line(first_line), output.finish, len(output.tokens), output.score)


def _one_line(text: str) -> str:
    """Without surrounding blanks; line ends inside become spaces."""
    return text.strip().replace("\r\n", " ").replace("\n", " ").replace("\r", " ")
