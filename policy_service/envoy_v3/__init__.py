"""Generated code for the part of Envoy's external authorization API that is used; see proto/policy_service/envoy_v3."""
