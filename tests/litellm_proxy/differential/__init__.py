"""LiteLLM's own checks and the decision on what the import makes of the same proxy, compared at random."""
