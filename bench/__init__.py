"""Measurements of the service, side by side in one run; see __main__.py. Nothing here asserts a timing."""
