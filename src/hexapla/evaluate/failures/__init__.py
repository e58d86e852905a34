"""Failure rates: the share of translations that failed in one way, one file each, in percent.

The registry imports the files here and they import its contract, so that it has to come first.
"""

import hexapla.evaluate.metrics  # noqa: F401
