"""Foundations that know nothing of translation: errors, artifacts, seeds, progress, text files."""
