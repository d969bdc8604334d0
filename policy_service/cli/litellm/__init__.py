"""What LiteLLM's files say, as a manifest.

`configuration` and `teams` read them; `translation` says what they mean here, and reports as findings where LiteLLM
means something else.
"""
