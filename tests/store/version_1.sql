-- The rows of a database of schema version 1, as that version wrote them.
INSERT INTO meta VALUES
    ('schema_version', '1'),
    ('epoch', '0123456789abcdef'),
    ('anchor_revision', '0'),
    ('anchor_hash', '0000000000000000000000000000000000000000000000000000000000000000'),
    ('anchor_digest', '00000000000000000000000000000000'),
    ('anchor_time', '');
INSERT INTO teams VALUES ('é', '{"create_time":"2030-01-01T00:00:00.000000Z","default_team_member_models":{"mode":"INHERIT"},"etag":"e","id":"é","labels":{"k":"v"},"models":{"mode":"ONLY","models":["gpt-4o","g"]},"unlisted_users":"DENY","update_time":"2030-01-01T00:00:00.000000Z"}', 1);
INSERT INTO policies VALUES (7, '{"allowed_models":{"mode":"NONE"},"blocked":true,"limits":{"rpm_limit":0}}');
INSERT INTO members VALUES ('é', 'ann', 7, 'SEEDED', '{"create_time":"2030-01-01T00:00:00.000000Z","etag":"e","labels":{"a":"b"},"role":"MEMBER","scope_source":"SEEDED","update_time":"2030-01-01T00:00:00.000000Z"}');
INSERT INTO groups VALUES ('g', '{"create_time":"2030-01-01T00:00:00.000000Z","etag":"e","models":["m","x/*"],"name":"g","update_time":"2030-01-01T00:00:00.000000Z"}');
INSERT INTO models VALUES ('gpt-4o', '{"name":"gpt-4o","provider":"openai"}');
INSERT INTO log VALUES (1, '0123456789abcdef', '2030-01-01T00:00:00.000000Z', 'ann', 'ipv4:127.0.0.1:1', 'Test', 1,
    '1567e2792af69b37617717cd8d969279', '0000000000000000000000000000000000000000000000000000000000000000',
    '3f59f8038a9b1717127ec90f2afc37db78c4387de39fe99551d133a22ef32728', 4);
INSERT INTO log_changes VALUES
    (1, 0, 'team', 'é', '', '', '{"create_time":"2030-01-01T00:00:00.000000Z","default_team_member_models":{"mode":"INHERIT"},"etag":"e","id":"é","labels":{"k":"v"},"models":{"mode":"ONLY","models":["gpt-4o","g"]},"unlisted_users":"DENY","update_time":"2030-01-01T00:00:00.000000Z"}'),
    (1, 1, 'member', 'é', 'ann', '', '{"allowed_models":{"mode":"NONE"},"blocked":true,"create_time":"2030-01-01T00:00:00.000000Z","etag":"e","labels":{"a":"b"},"limits":{"rpm_limit":0},"role":"MEMBER","scope_source":"SEEDED","team":"é","update_time":"2030-01-01T00:00:00.000000Z","user":"ann"}'),
    (1, 2, 'group', '', 'g', '', '{"create_time":"2030-01-01T00:00:00.000000Z","etag":"e","models":["m","x/*"],"name":"g","update_time":"2030-01-01T00:00:00.000000Z"}'),
    (1, 3, 'model', '', 'gpt-4o', '', '{"name":"gpt-4o","provider":"openai"}');
