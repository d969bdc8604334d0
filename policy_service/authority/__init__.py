"""The one writer: plans a mutation by the domain's rules, commits it, applies it to the state, acknowledges it."""
