"""Which candidates are false negatives."""
