"""What texts hold, judged without a model: letters and scripts, items that must not be lost, loops."""
