"""Failure rates: the share of translations that failed in one way, one file each, in percent."""
