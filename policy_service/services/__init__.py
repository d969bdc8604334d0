"""The gRPC services: convert, call, convert. Errors become statuses in status.py, callers principals in auth.py."""
