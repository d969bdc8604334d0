"""Envoy's ext_authz: who asks for which models with an HTTP request, and what becomes of it."""
