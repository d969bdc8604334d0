"""The client library, against real servers."""
