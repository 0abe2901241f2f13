"""Rules that find false negatives among the candidates."""
