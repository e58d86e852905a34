"""Looking inside models: how near translations lie to each other, layer by layer."""
