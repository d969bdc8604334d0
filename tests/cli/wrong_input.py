"""Wrong input for every command: what is given, what the message says, and the exit status (2 when none is given).

The world is that of world.py. FOLDER is one with the files of `write_files`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

Row = tuple[str, str] | tuple[str, str, int]

NOT_FOUND, CONFLICT = 3, 4
STALE = "--etag 0123456789abcdef.1"
CHANGED_SINCE = "has changed since the etag was read; read it again"
NOTHING = "there is nothing to change; give the fields to set, or --clear"
TOO_BIG = "99999999999999999999"

FILES: dict[str, bytes] = {
    "two.csv": b"team,user,model\nsupport,sam,gpt-4o\nsupport,sam\n",
    "four.csv": b"support,sam,ft:gpt-4o,mini\n",
    "open-quote.csv": b'support,sam,gpt-4o\nsupport,sam,"gpt-4o\n',
    "latin-1.csv": b"support,s\xe4m,gpt-4o\n",
    "empty.csv": b"",
    "heading.csv": b"team,user,model\n\n",
    "good.csv": b"support,sam,gpt-4o\n",
    "unknown-key.yaml": b"contexts:\n  a:\n    server: 127.0.0.1:1\n    colour: red\n",
    "no-server.yaml": b"contexts:\n  a: {token_file: token}\n",
    "no-current.yaml": b"current_context: b\ncontexts:\n  a: {server: '127.0.0.1:1'}\n",
    "number.yaml": b"contexts:\n  a: {server: 50051}\n",
    "no-port.yaml": b"contexts:\n  a: {server: localhost}\n",
    "cut.yaml": b"contexts: [\n",
    "latin-1.yaml": b"contexts: {z\xfcrich: {server: 'x:1'}}\n",
    "good.yaml": b"contexts:\n  a: {server: '127.0.0.1:1'}\n",
    "litellm.yaml": b"model_list:\n  - {model_name: gpt-4o, litellm_params: {model: openai/gpt-4o}}\n",
    "policy.yaml": b"teams:\n  - id: support\n    colour: red\n",
    "latin-1.token": b"t\xf6ken",
}

# Arguments with which a command does what it is for: with a wrong option on top it does nothing.
RIGHT: dict[str, str] = {
    "check": "support sam gpt-4o",
    "explain": "support sam gpt-4o",
    "models": "support sam",
    "status": "",
    "watch": "",
    "team list": "",
    "team show": "support",
    "team create": "new --mode ALL",
    "team update": "support --blocked",
    "team delete": "empty",
    "member list": "support",
    "member show": "support sam",
    "member add": "support new",
    "member update": "support sam --blocked",
    "member remove": "open bob",
    "member reseed": "support",
    "group list": "",
    "group show": "cheap",
    "group set": "new-group --model gpt-4o",
    "group delete": "unused",
    "model list": "",
    "model show": "gpt-4o",
    "model set": "new --provider openai",
    "model delete": "o1",
    "apply": "-f FOLDER/new-model.yaml",
    "export": "",
    "audit list": "",
    "audit verify": "",
}
FILES["new-model.yaml"] = b"models:\n  - {name: new, provider: openai}\n"

# Wrong options that every command with a server has.
WITH_SERVER: list[Row] = [
    ("--nonsense", "No such option: --nonsense"),
    ("--server localhost", "the target 'localhost' has no port; give host:port"),
    ("--server ''", "the target '' has no port; give host:port"),
    ("--context a", "--server and --context, or POLICY_SERVICE_SERVER and _CONTEXT, each name a server; give one"),
    ("--server", "requires an argument"),
    ("--token-file FOLDER/none", "the token file FOLDER/none cannot be read: No such file or directory"),
    ("--token-file FOLDER/latin-1.token", "the token file FOLDER/latin-1.token cannot be read: it is not UTF-8 text"),
    ("--token-file FOLDER/empty.csv", "the token is empty"),
    ("--token-file FOLDER/good.csv --server acme.example:1", "a token would go to 'acme.example:1' in plain text"),
    ("--tls-ca FOLDER/none", "No such file or directory: 'FOLDER/none'"),
    ("--tls-ca FOLDER/good.csv", "the ca in 'FOLDER/good.csv' is not PEM; give certificates"),
    ("--tls-cert FOLDER/good.csv", "a client certificate needs both cert and key"),
    ("--tls-key FOLDER/good.csv", "a client certificate needs both cert and key"),
]
# And without --server.
WITH_CONTEXT: list[Row] = [
    ("--config FOLDER/good.yaml --context b", "there is no context 'b'; there are a"),
    ("--config FOLDER/good.yaml --context ''", "there is no context ''; there are a"),
    ("--context a", "there is no context 'a'; there are none yet, see `policy-service context set`"),
    ("--config FOLDER/none.yaml", "the configuration file FOLDER/none.yaml does not exist"),
    ("--config FOLDER", "FOLDER cannot be read: Is a directory"),
    ("--config FOLDER/unknown-key.yaml", "FOLDER/unknown-key.yaml:4: contexts.a: there is no key 'colour'; use server"),
    ("--config FOLDER/no-server.yaml", "FOLDER/no-server.yaml:2: contexts.a: 'server' is missing"),
    ("--config FOLDER/no-current.yaml", "FOLDER/no-current.yaml:1: current_context: there is no context 'b'"),
    ("--config FOLDER/number.yaml", "FOLDER/number.yaml:2: contexts.a.server: 50051 is a number"),
    ("--config FOLDER/cut.yaml", "FOLDER/cut.yaml:2: this is not YAML"),
    ("--config FOLDER/latin-1.yaml", "FOLDER/latin-1.yaml cannot be read: it is not UTF-8 text"),
    ("--config FOLDER/no-port.yaml --context a", "the target 'localhost' has no port"),
]

TEAM_FIELDS: list[Row] = [
    ("--mode EVERYTHING", "'EVERYTHING' is not one of 'ALL', 'NONE', 'ONLY'"),
    ("--mode INHERIT", "'INHERIT' is not one of 'ALL', 'NONE', 'ONLY'"),
    ("--mode ALL --model x", "is not empty with mode ALL; empty it, or use mode ONLY"),
    ("--default-mode ALL", "'ALL' is not one of 'INHERIT', 'NONE', 'ONLY'"),
    ("--default-mode NONE --default-model x", "is not empty with mode NONE"),
    ("--unlisted-users MAYBE", "'MAYBE' is not one of 'DENY', 'TEAM_SCOPE'"),
    ("--model ''", "team.models.models[0]: is empty; give 1 to 256 bytes"),
    ("--model all-proxy-models", "is a word of another system, not a model; use mode ALL"),
    ("--model x --exclude ' x'", "team.models.excluded_models[0]: has white space at its start or end"),
    ("--alias quick", "--alias 'quick' has no '='; give --alias NAME=VALUE"),
    ("--alias quick=", "team.model_aliases['quick']: is empty"),
    ("--alias cheap=gpt-4o", "there is an access group 'cheap'; choose another name for the alias"),
    ("--blocked=yes", "does not take a value"),
]
MEMBER_FIELDS: list[Row] = [
    ("--mode ALL", "'ALL' is not one of 'INHERIT', 'NONE', 'ONLY'"),
    ("--mode INHERIT --model x", "is not empty with mode INHERIT"),
    ("--role BOSS", "'BOSS' is not one of 'MEMBER', 'TEAM_ADMIN'"),
    ("--model ''", "allowed_models.models[0]: is empty"),
    ("--model no-default-models", "is a word of another system, not a model; use mode NONE"),
]
LABELS: list[Row] = [
    ("--label env", "--label 'env' has no '='; give --label NAME=VALUE"),
    ("--label =prod", "labels['']: is empty"),
]
LIMITS: list[Row] = [
    ("--max-budget lots", "Invalid value for '--max-budget'"),
    ("--max-budget -1", "max_budget_in_team: is not finite or is negative; give 0 or more"),
    ("--max-budget nan", "max_budget_in_team: is not finite"),
    ("--tpm-limit 1.5", "Invalid value for '--tpm-limit'"),
    (f"--tpm-limit {TOO_BIG}", f"tpm_limit: {TOO_BIG} is out of range"),
    ("--tpm-limit -1", "tpm_limit: is negative; give 0 or more"),
    (f"--rpm-limit {TOO_BIG}", f"rpm_limit: {TOO_BIG} is out of range"),
    ("--budget-duration ''", "budget_duration: is empty"),
]


def _with(arguments: str, rows: list[Row]) -> Iterator[Row]:
    for given, *rest in rows:
        yield (f"{arguments} {given}", *rest)  # type: ignore[misc]


QUESTION: list[Row] = [
    ("support sam gpt-4o extra", "unexpected extra argument"),
    ("support sam a,b", "model: holds one of , * \\ ? # %; ask for one model by its plain name"),
    ("support sam ''", "model: is empty"),
    ("'' sam gpt-4o", "team: is empty"),
    ("support ' sam' gpt-4o", "user: has white space at its start or end"),
]
ROWS: dict[str, list[Row]] = {
    "check": [
        *QUESTION,
        ("", "give TEAM USER MODEL, or --batch"),
        ("support", "give TEAM USER MODEL, or --batch"),
        ("support sam", "give TEAM USER MODEL, or --batch"),
        ("support --batch FOLDER/good.csv", "--batch brings the questions; leave TEAM USER MODEL out"),
        ("support sam gpt-4o --batch FOLDER/good.csv", "--batch brings the questions"),
        ("--batch FOLDER/none.csv", "FOLDER/none.csv cannot be read: No such file or directory"),
        ("--batch FOLDER", "FOLDER cannot be read: Is a directory"),
        ("--batch FOLDER/latin-1.csv", "FOLDER/latin-1.csv cannot be read: it is not UTF-8 text"),
        ("--batch FOLDER/empty.csv", "FOLDER/empty.csv: there is no question in it; give lines TEAM,USER,MODEL"),
        ("--batch FOLDER/heading.csv", "FOLDER/heading.csv: there is no question in it"),
        ("--batch FOLDER/two.csv", "FOLDER/two.csv:3: has 2 fields; give TEAM,USER,MODEL"),
        ("--batch FOLDER/four.csv", "FOLDER/four.csv:1: has 4 fields; give TEAM,USER,MODEL, quote what holds a comma"),
        ("--batch FOLDER/open-quote.csv", "FOLDER/open-quote.csv:2: this is not CSV: unexpected end of data"),
        ("--batch -", "-: there is no question in it"),
    ],
    "explain": [*QUESTION, ("support sam", "Missing argument 'MODEL'"), ("support", "Missing argument 'USER'")],
    "models": [
        ("support", "Missing argument 'USER'"),
        ("support sam extra", "unexpected extra argument"),
        ("'' sam", "team: is empty"),
    ],
    "status": [("extra", "unexpected extra argument")],
    "watch": [("extra", "unexpected extra argument")],
    "team list": [("extra", "unexpected extra argument")],
    "team show": [
        ("", "Missing argument 'TEAM'"),
        ("support extra", "unexpected extra argument"),
        ("ghost", "there is no team 'ghost'", NOT_FOUND),
        ("''", "team: is empty"),
    ],
    "team create": [
        *_with("new --model gpt-4o", [*TEAM_FIELDS[:2], *TEAM_FIELDS[3:6], *TEAM_FIELDS[8:], *LABELS, *LIMITS]),
        ("", "Missing argument 'TEAM'"),
        ("support --mode ALL", "team 'support' exists already; update it instead", CONFLICT),
        ("new", "team.models: is required; give mode ALL or NONE, or list models"),
        ("new --mode ONLY", "team.models.models: is empty with mode ONLY; list at least one model"),
        ("'' --mode ALL", "team.id: is empty"),
        ("' new' --mode ALL", "team.id: has white space at its start or end; remove it"),
        ("new --mode ALL --member ''", "members[0].user: is empty"),
        ("new --mode ALL --member a --member a", "members[1].user: is the same as members[0].user; name it once"),
        ("new extra --mode ALL", "unexpected extra argument"),
    ],
    "team update": [
        *_with("support", [*TEAM_FIELDS, *LABELS, *LIMITS]),
        ("", "Missing argument 'TEAM'"),
        ("ghost --blocked", "there is no team 'ghost'", NOT_FOUND),
        ("support", NOTHING),
        (f"support --blocked {STALE}", f"team 'support' {CHANGED_SINCE}", CONFLICT),
        (f"support {STALE}", NOTHING),
        ("open --add-model x", "the mode is ALL: to add one model would take all others away; if that is meant, give"),
        ("support --add-model ''", "team.models.models[2]: is empty"),
        ("support --mode NONE --add-model x", "is not empty with mode NONE"),
        ("support --remove-model x", "'x' is not in models ([gpt-4o, cheap])"),
        ("open --remove-model x", "'x' is not in models (which is empty)"),
        ("support --remove-model gpt-4o --remove-model cheap", "is empty with mode ONLY; list at least one model"),
        ("support --remove-exclude x", "'x' is not in excluded_models ([o1])"),
        ("support --remove-alias x", "there is no alias 'x'; there are fast"),
        ("empty --remove-alias x", "there is no alias 'x'; there are none"),
        ("support --remove-label x", "there is no label 'x'; there are env"),
        ("support --clear nonsense", "'nonsense' cannot be updated; use display_name, models,"),
        ("support --clear nonsense.models", "'nonsense.models' cannot be updated"),
        ("support --clear default_member_limits.x", "'default_member_limits.x' cannot be updated"),
        ("support --clear labels.env", "'labels.env' cannot be updated"),
        ("support --clear member_count", "'member_count' cannot be updated"),
        ("support --clear models", "team.models: is required and cannot be cleared"),
    ],
    "team delete": [
        ("", "Missing argument 'TEAM'"),
        ("ghost", "there is no team 'ghost'", NOT_FOUND),
        ("ghost --force", "there is no team 'ghost'", NOT_FOUND),
        ("support", "team 'support' has 3 members; remove them first, or delete with force"),
        ("support --dry-run", "team 'support' has 3 members; remove them first, or delete with force"),
        (f"empty {STALE}", f"team 'empty' {CHANGED_SINCE}", CONFLICT),
        (f"support --force {STALE}", f"team 'support' {CHANGED_SINCE}", CONFLICT),
    ],
    "member list": [
        ("", "give a TEAM, or --user"),
        ("--source SEEDED", "give a TEAM, or --user"),
        ("ghost", "there is no team 'ghost'", NOT_FOUND),
        ("ghost --user sam", "there is no team 'ghost'", NOT_FOUND),
        ("support --source BOTH", "'BOTH' is not one of 'SEEDED', 'EXPLICIT'"),
        ("--user ' sam'", "user: has white space at its start or end"),
        ("support sam", "unexpected extra argument"),
    ],
    "member show": [
        ("", "Missing argument 'TEAM'"),
        ("support", "Missing argument 'USER'"),
        ("support ghost", "there is no member 'support/ghost'", NOT_FOUND),
        ("ghost sam", "there is no member 'ghost/sam'", NOT_FOUND),
        ("support ''", "user: is empty"),
    ],
    "member add": [
        *_with("support new", [*MEMBER_FIELDS, *LABELS, *LIMITS]),
        ("", "Missing argument 'TEAM'"),
        ("support", "Missing argument 'USER...'"),
        ("ghost sam", "there is no team 'ghost'", NOT_FOUND),
        ("support sam", "member 'sam' exists already; update it instead", CONFLICT),
        ("support new sam", "member 'sam' exists already; update it instead", CONFLICT),
        ("support new new", "members[1].user: is the same as members[0].user; name it once"),
        ("support new ''", "members[1].user: is empty"),
        ("support new --mode ONLY", "members[0].allowed_models.models: is empty with mode ONLY"),
        ("support " + " ".join(f"user-{number}" for number in range(501)), "501"),
    ],
    "member update": [
        *_with("support sam", [*MEMBER_FIELDS, *LABELS, *LIMITS]),
        ("support", "Missing argument 'USER'"),
        ("support ghost --blocked", "there is no member 'support/ghost'", NOT_FOUND),
        ("ghost sam --blocked", "there is no member 'ghost/sam'", NOT_FOUND),
        ("support sam", NOTHING),
        (f"support sam --blocked {STALE}", f"member 'support/sam' {CHANGED_SINCE}", CONFLICT),
        ("support ann --add-model x", "the mode is INHERIT: to add one model would take all others away"),
        ("support sam --mode INHERIT --add-model x", "is not empty with mode INHERIT"),
        ("support sam --remove-model x", "'x' is not in models ([cheap])"),
        ("support sam --remove-model cheap", "is empty with mode ONLY; list at least one model, or use mode NONE"),
        ("support sam --remove-exclude x", "'x' is not in excluded_models (which is empty)"),
        ("support zoe --remove-label x", "there is no label 'x'; there are desk"),
        ("support sam --clear limits.x", "'limits.x' cannot be updated; use role, allowed_models,"),
        ("support sam --clear user", "'user' cannot be updated"),
    ],
    "member remove": [
        ("support", "Missing argument 'USER'"),
        ("support ghost", "there is no member 'support/ghost'", NOT_FOUND),
        ("ghost sam", "there is no team 'ghost'", NOT_FOUND),
        ("support sam", "removed, this user could use more; keep or block the member, or remove with force"),
        (f"support ann {STALE}", f"member 'support/ann' {CHANGED_SINCE}", CONFLICT),
    ],
    "member reseed": [("", "Missing argument 'TEAM'"), ("ghost", "there is no team 'ghost'", NOT_FOUND)],
    "group list": [("extra", "unexpected extra argument")],
    "group show": [
        ("", "Missing argument 'GROUP'"),
        ("ghost", "there is no group 'ghost'", NOT_FOUND),
        ("a b c", "unexpected extra argument"),
    ],
    "group set": [
        ("", "Missing argument 'GROUP'"),
        ("new", "there is nothing to set; give --model or another of the lists"),
        ("cheap", "there is nothing to set; give --model or another of the lists"),
        ("new --exclude x", "group.models: is empty; list at least one model"),
        ("new --remove-model x", "'x' is not in models (which is empty)"),
        ("new --model ''", "group.models[0]: is empty"),
        (f"cheap --add-model x {STALE}", f"group 'cheap' {CHANGED_SINCE}", CONFLICT),
        (f"new --model x {STALE}", f"group 'new' {CHANGED_SINCE}", CONFLICT),
        ("cheap --remove-model x", "'x' is not in models ([gpt-4o-mini])"),
        ("cheap --remove-model gpt-4o-mini", "group.models: is empty; list at least one model, or delete the group"),
        ("unused --remove-exclude x", "'x' is not in excluded_models ([gpt-4o])"),
        ("'a*' --model x", "holds '*'; a name is no pattern"),
        ("a/b --model x", "holds '/'; a group's name has none"),
        ("gpt-4o --model x", "the catalogue has a model 'gpt-4o'; choose another name for the group"),
        ("fast --model x", "team 'support' has an alias 'fast'; choose another name for the group"),
        ("'' --model x", "name: is empty"),
    ],
    "group delete": [
        ("", "Missing argument 'GROUP'"),
        ("ghost", "there is no group 'ghost'", NOT_FOUND),
        ("ghost --force", "there is no group 'ghost'", NOT_FOUND),
        ("cheap", "is listed by team support (models), team support (default_team_member_models), member support/sam"),
        ("cheap --dry-run", "deleting it would widen what can be used; take it out of the scopes first"),
        (f"unused {STALE}", f"group 'unused' {CHANGED_SINCE}", CONFLICT),
    ],
    "model list": [("extra", "unexpected extra argument")],
    "model show": [
        ("", "Missing argument 'MODEL'"),
        ("ghost", "there is no model 'ghost' in the catalogue", NOT_FOUND),
        ("gpt-4o o1", "unexpected extra argument"),
    ],
    "model set": [
        *_with("gpt-4o", LABELS),
        ("", "Missing argument 'MODEL...'"),
        ("new", "models[0].provider: is empty"),
        ("gpt-4o new", "models[1].provider: is empty"),
        ("new --provider ''", "models[0].provider: is empty"),
        ("'a*' --provider p", "models[0].name: holds '*'; a name is no pattern"),
        ("cheap --provider p", "there is an access group 'cheap'; choose another name for the model"),
        ("gpt-4o --remove-label x", "there is no label 'x'; there are site, tier"),
        ("gpt-4o o1 --remove-label tier", "there is no label 'tier'; there are none"),
    ],
    "model delete": [
        ("", "Missing argument 'MODEL...'"),
        ("ghost", "there is no model 'ghost'", NOT_FOUND),
        ("o1 ghost", "there is no model 'ghost'", NOT_FOUND),
        ("ft/tuned", "'openai/ft/*' would no longer exclude 'ft/tuned': the catalogue's provider is what it matches"),
        ("o1 ft/tuned", "delete with force"),
    ],
    "apply": [
        ("", "Missing option '--file'"),
        ("-f FOLDER/none.yaml", "No such file or directory: 'FOLDER/none.yaml'"),
        ("-f FOLDER/policy.yaml", "FOLDER/policy.yaml:3: teams[0]: there is no key 'colour'"),
        ("-f FOLDER/new-model.yaml --prune", "--prune asks before it deletes, and nobody can be asked here; add --yes"),
        ("-f FOLDER/new-model.yaml extra", "unexpected extra argument"),
    ],
    "export": [
        ("extra", "unexpected extra argument"),
        ("-f FOLDER/none/policy.yaml", "FOLDER/none/policy.yaml cannot be written"),
    ],
    "audit list": [
        ("extra", "unexpected extra argument"),
        ("--since yesterday", "give a time such as 2026-11-25, 2026-11-25T08:00:00Z, or 7d for a week ago"),
        ("--until 2026-13-01", "give a time such as 2026-11-25"),
        ("--since 999999w", "give a time such as 2026-11-25"),
        ("--team ' t'", "team: has white space at its start or end"),
    ],
    "audit verify": [
        ("extra", "unexpected extra argument"),
        ("--expect 0123", "give REVISION=HASH, as verify printed them"),
    ],
    "import litellm": [
        ("", "Missing option '--config'"),
        ("--config FOLDER/none.yaml", "FOLDER/none.yaml cannot be read: No such file or directory"),
        ("--config FOLDER/cut.yaml", "FOLDER/cut.yaml:2: this is not YAML"),
        ("--config FOLDER/good.yaml", "there is no model_list in it; give the config.yaml of a LiteLLM proxy"),
        ("--config FOLDER/litellm.yaml --teams FOLDER/none.json", "FOLDER/none.json cannot be read"),
        ("--config FOLDER/litellm.yaml --teams FOLDER/good.csv", "FOLDER/good.csv"),
        ("--config FOLDER/litellm.yaml -f FOLDER/good.csv", "FOLDER/good.csv is there already"),
        ("--config FOLDER/litellm.yaml --output json", "say with --file where the YAML goes"),
    ],
    "context list": [
        *(row for row in WITH_CONTEXT if "--context" not in row[0] and "none" not in row[0]),
        ("extra", "unexpected extra argument"),
        ("--output xml", "'xml' is not one of"),
    ],
    "context set": [
        ("", "Missing argument 'NAME'"),
        ("b --config FOLDER/good.yaml", "there is no context 'b' yet; give its --server"),
        ("b --config FOLDER/good.yaml --server localhost", "the target 'localhost' has no port"),
        ("a --config FOLDER/good.yaml --server ''", "the target '' has no port"),
        ("a --config FOLDER/good.yaml --admin-server localhost", "the target 'localhost' has no port"),
        ("a --config FOLDER/good.yaml --token-file FOLDER/none", "the token file FOLDER/none cannot be read"),
        ("a --config FOLDER/good.yaml --tls-cert FOLDER/good.csv", "needs both cert and key"),
        ("'' --config FOLDER/good.yaml --server x:1", "the name '' is empty"),
        ("a --config FOLDER/unknown-key.yaml --server x:1", "FOLDER/unknown-key.yaml:4: contexts.a: there is no key"),
        ("a --config FOLDER/good.csv/config.yaml --server x:1", "cannot be read: Not a directory"),
    ],
    "context use": [
        ("", "Missing argument 'NAME'"),
        ("b --config FOLDER/good.yaml", "there is no context 'b'; there are a", NOT_FOUND),
        ("b", "there is no context 'b'; there are none yet, see `policy-service context set`", NOT_FOUND),
        ("a --config FOLDER/cut.yaml", "FOLDER/cut.yaml:2: this is not YAML"),
    ],
    "context delete": [
        ("", "Missing argument 'NAME'"),
        ("b --config FOLDER/good.yaml", "there is no context 'b'; there are a", NOT_FOUND),
        ("a --config FOLDER/cut.yaml", "FOLDER/cut.yaml:2: this is not YAML"),
    ],
    "serve": [
        ("extra", "unexpected extra argument"),
        ("--nonsense", "No such option: --nonsense"),
        ("--role king", "'king' is not one of 'authority', 'replica'"),
        ("--listen nowhere", "'nowhere' is no address; give HOST:PORT"),
        ("--drain-timeout-s soon", "Invalid value for '--drain-timeout-s'"),
    ],
    "backup": [
        ("", "Missing argument 'FILE'"),
        ("FOLDER/new.db --database FOLDER/none.db", "FOLDER/none.db does not exist"),
        ("FOLDER/new.db --nonsense", "No such option: --nonsense"),
    ],
    "restore": [
        ("", "Missing argument 'FILE'"),
        ("FOLDER/none.db --database FOLDER/new.db", "FOLDER/none.db does not exist"),
        ("FOLDER/good.csv --database FOLDER/new.db", "FOLDER/good.csv: file is not a database"),
    ],
    "keygen": [
        ("", "Missing argument 'FILE'"),
        ("FOLDER/none/key", "FOLDER/none/key: No such file or directory"),
        ("FOLDER/good.csv", "FOLDER/good.csv exists already and is not overwritten; name another file"),
    ],
    "credential create": [
        ("--permission check", "Missing argument 'NAME'"),
        ("gateway", "Missing option '--permission'"),
        ("gateway --permission root", "'root' is not one of 'check', 'replicate', 'admin'"),
        ("'' --permission check", "'' is empty"),
    ],
}


def write_files(folder: Path) -> None:
    """The files that the rows name."""
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
