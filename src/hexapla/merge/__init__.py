"""Merging: pool → pool. Several experts become one adapter, by an operator, group by group."""
