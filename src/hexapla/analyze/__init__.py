"""Analysis reads scores and writes reports; it never trains."""
