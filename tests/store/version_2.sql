-- The rows of a database of schema version 2, as that version wrote them.
INSERT INTO meta VALUES
    ('anchor_digest', '9c068f36697f3cab2289cc4dc0ab0aa1'),
    ('anchor_hash', 'bfc27ba36cfd00f5d9c933b3e5f08c310b4128753a76d219fe12513e8a93d2a1'),
    ('anchor_revision', '1'),
    ('anchor_time', '2030-01-01T00:00:00.000000Z'),
    ('epoch', 'a74af87ca6ef95d5'),
    ('schema_version', '2');
INSERT INTO teams VALUES
    ('t', '{"create_time":"2030-01-01T00:00:00.000000Z","default_team_member_models":{"mode":"INHERIT"},"display_name":"T","etag":"e","id":"t","models":{"mode":"ALL"},"unlisted_users":"DENY","update_time":"2030-01-01T00:00:00.000000Z"}', 1),
    ('é', '{"create_time":"2030-01-01T00:00:00.000000Z","default_team_member_models":{"mode":"INHERIT"},"etag":"e","id":"é","labels":{"k":"v"},"models":{"mode":"ONLY","models":["gpt-4o","g"]},"unlisted_users":"DENY","update_time":"2030-01-01T00:00:00.000000Z"}', 2);
INSERT INTO policies VALUES
    (1, '{"allowed_models":{"mode":"ONLY","models":["a"]}}'),
    (2, '{"allowed_models":{"mode":"NONE"},"blocked":true,"limits":{"rpm_limit":0}}');
INSERT INTO members VALUES
    ('t', 'ann', 1, 'EXPLICIT', '{"create_time":"2030-01-01T00:00:00.000000Z","etag":"e","role":"MEMBER","scope_source":"EXPLICIT","update_time":"2030-01-01T00:00:00.000000Z"}'),
    ('é', 'ann', 2, 'SEEDED', '{"create_time":"2030-01-01T00:00:00.000000Z","etag":"e","labels":{"a":"b"},"role":"MEMBER","scope_source":"SEEDED","update_time":"2030-01-01T00:00:00.000000Z"}'),
    ('é', 'bob', 1, 'EXPLICIT', '{"create_time":"2030-01-01T00:00:00.000000Z","etag":"e","role":"MEMBER","scope_source":"EXPLICIT","update_time":"2030-01-01T00:00:00.000000Z"}');
INSERT INTO groups VALUES
    ('g', '{"create_time":"2030-01-01T00:00:00.000000Z","etag":"e","models":["m","x/*"],"name":"g","update_time":"2030-01-01T00:00:00.000000Z"}');
INSERT INTO models VALUES
    ('gpt-4o', '{"name":"gpt-4o","provider":"openai"}');
INSERT INTO log VALUES
    (2, 'a74af87ca6ef95d5', '2030-01-01T01:00:00.000000Z', 'ann', 'ipv4:127.0.0.1:1', 'Test', 1, 'b16e71af9475d7e28400e41b4e419d1a', 'bfc27ba36cfd00f5d9c933b3e5f08c310b4128753a76d219fe12513e8a93d2a1', '232de7804f29c45d1dfe9fdba95129dfb5f4150a20bf954470084566176be055', 4),
    (3, 'a74af87ca6ef95d5', '2030-01-01T02:00:00.000000Z', 'ann', 'ipv4:127.0.0.1:1', 'Test', 1, '5301cde1090de16d8dc6edac06ad0a02', '232de7804f29c45d1dfe9fdba95129dfb5f4150a20bf954470084566176be055', 'd01031e0e9d9d3fbbc3c16bf7513d9b4aab8fdb4499a2c61694b34c10f7cab06', 1);
INSERT INTO log_changes VALUES
    (2, 0, 'team', 'é', '', '', '{"create_time":"2030-01-01T00:00:00.000000Z","default_team_member_models":{"mode":"INHERIT"},"etag":"e","id":"é","labels":{"k":"v"},"models":{"mode":"ONLY","models":["gpt-4o","g"]},"unlisted_users":"DENY","update_time":"2030-01-01T00:00:00.000000Z"}'),
    (2, 1, 'member', 'é', 'ann', '', '{"allowed_models":{"mode":"NONE"},"blocked":true,"create_time":"2030-01-01T00:00:00.000000Z","etag":"e","labels":{"a":"b"},"limits":{"rpm_limit":0},"role":"MEMBER","scope_source":"SEEDED","team":"é","update_time":"2030-01-01T00:00:00.000000Z","user":"ann"}'),
    (2, 2, 'group', '', 'g', '', '{"create_time":"2030-01-01T00:00:00.000000Z","etag":"e","models":["m","x/*"],"name":"g","update_time":"2030-01-01T00:00:00.000000Z"}'),
    (2, 3, 'model', '', 'gpt-4o', '', '{"name":"gpt-4o","provider":"openai"}'),
    (3, 0, 'member', 'é', 'bob', '', '{"allowed_models":{"mode":"ONLY","models":["a"]},"create_time":"2030-01-01T00:00:00.000000Z","etag":"e","role":"MEMBER","scope_source":"EXPLICIT","team":"é","update_time":"2030-01-01T00:00:00.000000Z","user":"bob"}');
INSERT INTO requests VALUES
    ('CreateTeam', '1', X'68617368', X'616e73776572', '2030-01-01T00:00:00.000000Z');
