"""The rules: records, matching, `decide`, state, seeding and validation. Pure: no I/O, no clock, no protobuf."""
