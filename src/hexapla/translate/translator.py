"""From texts and directions to translations: routes, prompts, batches, one engine.

Requests of any directions are sorted by length and cut into batches under a token budget; rows of different directions
and adapters share a batch. What a request yields depends on its company only through the order of floating-point sums.

With parallel multilingual prompting (PMP; LMT, arXiv 2511.07003) a prompt shows the source's translation into the
pool's auxiliary language of the direction: one that comes with the request, or one that the pool makes in a first pass.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from hexapla import prompts
from hexapla.base import Base
from hexapla.common.errors import UserError
from hexapla.languages import Direction
from hexapla.pool import Pool
from hexapla.prompts import Auxiliary
from hexapla.tokenization import Question, encode_prompts
from hexapla.translate.engines.engine import Decoded, DecodeRequest, Engine, Finish
from hexapla.translate.engines.torch_engine import TorchEngine
from hexapla.translate.spec import TranslateSpec

REQUESTS_PER_WINDOW = 8192
"""Requests that are sorted together: enough for batches of equal length, few enough to stream a file (assumption)."""


@dataclass(frozen=True, slots=True)
class Request:
    """A text to translate, one line, and its direction.

    Attributes:
        auxiliary: the text in the pool's auxiliary language of the direction, for `pmp: given`; None or blank: plain.
    """

    text: str
    direction: Direction
    auxiliary: Auxiliary | None = None


@dataclass(frozen=True, slots=True)
class Translation:
    """The translation of one request.

    Attributes:
        text: one line; blank when the source is blank or too long.
        finish: why it ended (see `engines.engine.Finish`).
        num_tokens: tokens of the output.
        score: log-probability over length to the power of the length penalty; 0 when the model was not run.
        auxiliary: what the prompt showed beside the source; None: the prompt was plain.
    """

    text: str
    finish: Finish
    num_tokens: int
    score: float
    auxiliary: Auxiliary | None = None


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request with its route: the text is one line, the auxiliary what the prompt is to show."""

    index: int
    text: str
    direction: Direction
    adapter: str | None
    auxiliary: Auxiliary | None


@dataclass(frozen=True, slots=True)
class _Waiting:
    index: int
    decode: DecodeRequest
    auxiliary: Auxiliary | None


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
        UserError: the pool, the base or the template cannot be used, or do not belong together; auxiliary sentences are
            asked of a pool that has no auxiliary languages.
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
        self._require_auxiliaries()
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
            UserError: a request's direction is not in the pool; its auxiliary sentence is in another language than the
                pool's, or `pmp` is not `given`.
        """
        numbered = enumerate(requests)
        while window := list(itertools.islice(numbered, REQUESTS_PER_WINDOW)):
            asked = self._asked(window)
            if self.spec.pmp == "self":
                asked = self._with_own_auxiliaries(asked)
            yield from self._answer(asked)

    def auxiliary_of(self, direction: Direction) -> str | None:
        """The language of the sentences that prompts in this direction may show; None: they are plain."""
        return None if self.pool is None else self.pool.description.auxiliaries.get(direction)

    def require_direction(self, direction: Direction) -> None:
        """Refuse a direction that the pool does not have.

        Raises:
            UserError: it is none of the pool's routes.
        """
        if self.pool is not None:
            self.pool.route(direction)

    def _require_auxiliaries(self) -> None:
        if self.spec.pmp == "none" or (self.pool is not None and self.pool.description.auxiliaries):
            return
        what = "A bare base" if self.pool is None else f"The pool {self.pool.description.name!r}"
        raise UserError(
            f"{what} has no auxiliary languages, so its prompts cannot show another translation of the source.",
            where="translate.pmp",
            hint="Leave it at none, or train with data.pmp.",
        )

    def _asked(self, window: Iterable[tuple[int, Request]]) -> list[_Asked]:
        """Requests with their routes, and with what they bring to be shown where it is to be shown."""
        asked = []
        for index, request in window:
            adapter = None if self.pool is None else self.pool.route(request.direction)
            given = None if request.auxiliary is None else self._given(request.direction, request.auxiliary)
            asked.append(_Asked(index, _one_line(request.text), request.direction, adapter, given))
        return asked

    def _given(self, direction: Direction, auxiliary: Auxiliary) -> Auxiliary | None:
        """What comes with a request, if the pool's prompts show something in this direction and it is not blank."""
        if self.spec.pmp != "given":
            raise UserError(
                f"A text in {auxiliary.code} was given beside the source, but it would not be shown.",
                where="translate.pmp",
                hint="Set it to given.",
            )
        code = self.auxiliary_of(direction)
        if code is None or not (text := _one_line(auxiliary.text)):
            return None
        if auxiliary.code != code:
            raise UserError(
                f"The auxiliary language of {direction} is {code} in this pool, not {auxiliary.code}.",
                hint=f"Give the text in {code}, or none.",
            )
        return Auxiliary(code, text)

    def _with_own_auxiliaries(self, asked: list[_Asked]) -> list[_Asked]:
        """Translate every source into its auxiliary language first, by plain prompts, each only once.

        The adapter is that of source → auxiliary where the pool has this direction, else that of the direction asked
        for, which has met both languages in its prompts.
        """
        wanted: dict[tuple[str, Direction, str | None], list[int]] = {}
        for place, item in enumerate(asked):
            code = self.auxiliary_of(item.direction)
            if code is not None and item.text:
                direction = Direction(item.direction.source, code)
                adapter = self._route_or(direction, item.adapter)
                wanted.setdefault((item.text, direction, adapter), []).append(place)
        first = [_Asked(number, *key, None) for number, key in enumerate(wanted)]
        keys, completed = list(wanted), list(asked)
        for number, made in self._answer(first):
            if made.text:
                auxiliary = Auxiliary(keys[number][1].target, made.text)
                for place in wanted[keys[number]]:
                    completed[place] = replace(asked[place], auxiliary=auxiliary)
        return completed

    def _route_or(self, direction: Direction, otherwise: str | None) -> str | None:
        assert self.pool is not None
        return self.pool.description.routes.get(direction, otherwise)

    def _answer(self, asked: Sequence[_Asked]) -> Iterator[tuple[int, Translation]]:
        answered, waiting = self._prepare(asked)
        yield from answered
        for batch in self._batches(waiting):
            decoded = self.engine.decode([item.decode for item in batch], self._adapters, self.spec)
            for item, output in zip(batch, decoded, strict=True):
                yield item.index, self._translation(output, item.auxiliary)

    def _prepare(self, asked: Sequence[_Asked]) -> tuple[list[tuple[int, Translation]], list[_Waiting]]:
        """Answer what needs no model; encode and bound the rest.

        An output is bounded by its source alone, so that plain prompts and others have the same bounds. Where the
        window is too small for an auxiliary sentence, the prompt is plain.
        """
        answered = [(item.index, Translation("", "empty-source", 0, 0.0)) for item in asked if not item.text]
        filled = [item for item in asked if item.text]
        plain = self._encode([(item.direction, item.text) for item in filled])
        shown = iter(self._encode([(item.direction, item.text, item.auxiliary) for item in filled if item.auxiliary]))
        waiting = []
        for item, prompt in zip(filled, plain, strict=True):
            num_source = max(1, len(prompt) - self._num_frame_tokens(item.direction))
            auxiliary = item.auxiliary
            if auxiliary is not None:
                longer = next(shown)
                if self.engine.window - len(longer) >= num_source:
                    prompt = longer
                else:
                    auxiliary = None
            room = self.engine.window - len(prompt)
            if room < num_source:
                answered.append((item.index, Translation("", "too-long", 0, 0.0)))
                continue
            bound = int(self.spec.max_length_ratio * num_source) + self.spec.max_extra_tokens
            waiting.append(_Waiting(item.index, DecodeRequest(prompt, item.adapter, min(bound, room)), auxiliary))
        return answered, waiting

    def _encode(self, questions: Sequence[Question]) -> list[list[int]]:
        return encode_prompts(self.engine.tokenizer, self._template, questions)

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
            [frame] = self._encode([(direction, "")])
            self._frame_tokens[direction] = len(frame)
        return self._frame_tokens[direction]

    def _translation(self, output: Decoded, auxiliary: Auxiliary | None) -> Translation:
        text = self.engine.tokenizer.decode(output.tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        first_line = text.strip().partition("\n")[0]
        return Translation(_one_line(first_line), output.finish, len(output.tokens), output.score, auxiliary)


def _one_line(text: str) -> str:
    """Without surrounding blanks; line ends inside become spaces."""
    return text.strip().replace("\r\n", " ").replace("\n", " ").replace("\r", " ")
