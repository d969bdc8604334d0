"""The tests of the whole, and what they share."""
