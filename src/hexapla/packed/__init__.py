"""Sequences one behind another in one pass of a model: where they lie, and attention that keeps each to itself."""
