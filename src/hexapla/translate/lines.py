"""Line-preserving translation of a stream: one line in, one line out."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

from hexapla.languages import Direction
from hexapla.translate.translator import REQUESTS_PER_WINDOW, Request, Translator


def translate_lines(translator: Translator, lines: Iterable[str], direction: Direction) -> Iterator[str]:
    """Translate a stream line by line: count and order are kept, blank lines give blank lines.

    Lines are read and held in windows, so that files of any length stream.

    Raises:
        UserError: the pool does not have this direction; raised before the first line is read.
    """
    translator.require_direction(direction)
    return _translate_windows(translator, iter(lines), direction)


def _translate_windows(translator: Translator, lines: Iterator[str], direction: Direction) -> Iterator[str]:
    while window := list(itertools.islice(lines, REQUESTS_PER_WINDOW)):
        outputs = [""] * len(window)
        for index, translation in translator.translate_requests(Request(line, direction) for line in window):
            outputs[index] = translation.text
        yield from outputs
