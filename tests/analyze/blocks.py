"""What the page does to the data in it, for tests that read it without a browser."""

from __future__ import annotations

import base64
import gzip


def unpack(block: str) -> str:
    """The text of a block."""
    return gzip.decompress(base64.b64decode(block)).decode("utf-8")
