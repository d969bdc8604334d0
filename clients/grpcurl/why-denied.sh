#!/usr/bin/env bash
# Says whether a user of a team may use a model, how that is decided, and what would allow what is denied.
#
#   why-denied.sh TEAM USER MODEL
#
# USER may be '': a request that names none. Exit status 0 says that there is an answer, allowed or denied.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "$0")/lib.sh"

[ $# -eq 3 ] || fail 'give a team, a user and a model; --help says more'

answer=$(grpcurl -d @ "${access[@]}" policy_service.v1.AccessService/ExplainModelAccess <<EOF
{"team": $(json "$1"), "user": $(json "$2"), "model": $(json "$3")}
EOF
)
printf '%s\n' "$answer"
changes=$(pick 'suggestedChanges.*.requestJson' <<<"$answer")
[ -z "$changes" ] || printf 'Requests that would change it, for the rpc named above:\n%s\n' "$changes"
