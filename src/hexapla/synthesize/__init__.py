"""Pseudo-parallel text: translations made by a pool, scored, chosen and marked as synthetic for ever."""
