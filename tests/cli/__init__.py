"""The commands, against real servers."""
