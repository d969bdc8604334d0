"""The fast data plane: the read-only services as an ASGI application inside Envoy."""
