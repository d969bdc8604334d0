"""The command `policy-service`: the only reader of arguments and environment."""
