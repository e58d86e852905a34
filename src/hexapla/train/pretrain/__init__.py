"""Continued pre-training: text in one language and sentence pairs, mixed and packed, before any instruction."""
