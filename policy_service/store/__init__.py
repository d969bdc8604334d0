"""Where the records and the change log are kept: the `Store` protocol, in memory and in SQLite."""
