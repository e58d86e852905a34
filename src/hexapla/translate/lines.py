"""Line-preserving translation of a stream: one line in, one line out."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

from hexapla.common.errors import UserError
from hexapla.languages import Direction
from hexapla.prompts import Auxiliary
from hexapla.translate.translator import REQUESTS_PER_WINDOW, Request, Translator


def translate_lines(
    translator: Translator, lines: Iterable[str], direction: Direction, auxiliary_lines: Iterable[str] | None = None
) -> Iterator[str]:
    """Translate a stream line by line: count and order are kept, blank lines give blank lines.

    Lines are read and held in windows, so that files of any length stream.

    Args:
        auxiliary_lines: the same lines in the pool's auxiliary language, for `pmp: given`; where one is blank, the
            prompt is plain.

    Raises:
        UserError: the pool does not have this direction, or has no auxiliary language for it though lines are given;
            raised before the first line is read. Later: there are fewer or more auxiliary lines than lines.
    """
    translator.require_direction(direction)
    if auxiliary_lines is None:
        return _translate_windows(translator, (Request(line, direction) for line in lines))
    code = translator.auxiliary_of(direction)
    if code is None:
        raise UserError(
            f"The pool has no auxiliary language for {direction}, so it cannot use another translation of the lines.",
            hint="Leave the auxiliary lines away.",
        )
    return _translate_windows(translator, _requests(lines, auxiliary_lines, direction, code))


def _requests(
    lines: Iterable[str], auxiliary_lines: Iterable[str], direction: Direction, code: str
) -> Iterator[Request]:
    for number, (line, auxiliary) in enumerate(itertools.zip_longest(lines, auxiliary_lines), start=1):
        if line is None or auxiliary is None:
            which = "lines" if line is None else "auxiliary lines"
            raise UserError(
                f"There are only {number - 1} {which}.", hint="Every line needs one auxiliary line, which may be blank."
            )
        yield Request(line, direction, Auxiliary(code, auxiliary))


def _translate_windows(translator: Translator, requests: Iterator[Request]) -> Iterator[str]:
    while window := list(itertools.islice(requests, REQUESTS_PER_WINDOW)):
        outputs = [""] * len(window)
        for index, translation in translator.translate_requests(window):
            outputs[index] = translation.text
        yield from outputs
