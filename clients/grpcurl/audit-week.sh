#!/usr/bin/env bash
# Who changed what, from what to what, in the last seven days or another time.
#
#   audit-week.sh [OPTION...]
#
#   --team TEAM   only what changed this team or its members
#   --since TIME  from then on, such as 2026-11-25T08:00:00Z; default seven days ago
#   --until TIME  until before then; default now
#
# `policy-service audit verify` says whether the log is whole.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "$0")/lib.sh"

team='' until=null
since=$(python3 -IS -c 'import time; print(time.strftime("\"%Y-%m-%dT%H:%M:%SZ\"", time.gmtime(time.time() - 7 * 86400)))')
while [ $# -gt 0 ]; do
  [ $# -ge 2 ] || fail "$1 is no option, or lacks its value; --help says more"
  case $1 in
    --team) team=$2 ;;
    --since) since=$(json "$2") ;;
    --until) until=$(json "$2") ;;
    *) fail "there is no option $1; --help says more" ;;
  esac
  shift 2
done

show() { # what differs between before_json and after_json of each change
  python3 -IS -X utf8 -c '
import json, sys
for event in json.load(sys.stdin).get("events", []):
    print(event["time"], event["revision"], event["actor"], event["rpc"])
    for change in event.get("changes", []):
        print("  " + change["kind"], change["name"])
        before, after = (json.loads(change.get(name) or "{}") for name in ("beforeJson", "afterJson"))
        for name in sorted({*before, *after} - {"id", "team", "user", "etag", "create_time", "update_time"}):
            if before.get(name) != after.get(name):
                print(f"    {name}: {json.dumps(before.get(name))} -> {json.dumps(after.get(name))}")'
}

page_token=''
while :; do
  page=$(grpcurl -d @ "${admin[@]}" policy_service.v1.AdminService/ListAuditEvents <<EOF
{"team": $(json "$team"), "start_time": $since, "end_time": $until, "page_size": 1000, "page_token": $(json "$page_token")}
EOF
)
  show <<<"$page"
  page_token=$(pick nextPageToken <<<"$page")
  [ -n "$page_token" ] || break
done
