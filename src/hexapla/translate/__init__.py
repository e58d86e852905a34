"""Translation with a pool: routing, decoding, one output line for every source line."""
