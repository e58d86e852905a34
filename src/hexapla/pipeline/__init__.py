"""From a recipe to a report: stages, their cache on disk, and what is known before anything runs."""
