"""Models, heads, losses. Nothing is imported here: the ``MODELS`` registry knows the rooms."""
