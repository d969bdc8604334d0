"""Policy Service: which team, and which member of a team, may use which AI model."""
