"""Generated from proto/policy_service/v1 by `make proto`."""
