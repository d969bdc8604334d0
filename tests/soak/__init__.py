"""A long run of a fleet under random faults: `make soak`."""
