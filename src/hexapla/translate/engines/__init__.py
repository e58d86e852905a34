"""Decoding engines, one file each, behind the contract of `engine.py`."""
