"""Hostile input for everything that reads files: what is changed and read, and what counts as a fault."""
