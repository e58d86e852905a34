"""Measure translations: metrics with signatures, scores on disk, tables over pools."""
