"""The data plane itself: what it says on the wire, whom it believes, and that it is kept running."""
