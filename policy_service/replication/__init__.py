"""Feeds that carry the change log, and the replica that follows one."""
