"""Corpora: readers, rows, splits, contamination, and the examples that training sees."""
