"""From scores to insight: the report."""
