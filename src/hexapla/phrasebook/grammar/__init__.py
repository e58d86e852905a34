"""Rules that a language cannot say with patterns alone: `grammar/<code>.py` holds its subclass of `Grammar`."""
