"""A load generator for gRPC, in a process of its own, that costs little and checks every answer.

`generator.py` is what a measurement uses; `loops.py` decides when a call is sent, `connection.py` speaks HTTP/2,
`heads.py` its headers; `h2load.py` runs nghttp2's load generator beside it.
"""
