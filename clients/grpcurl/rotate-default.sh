#!/usr/bin/env bash
# Replaces what new members of a team get, and gives it to those members, too, who still have what they got as new ones
# (SEEDED). Who was given a scope of their own (EXPLICIT) keeps it. Shows first what changes, and for whom.
#
#   rotate-default.sh [OPTION...] TEAM ENTRY...
#
#   --exclude ENTRY  but not this; repeat it
#   --yes            do not ask
#
# An ENTRY is a model, an access group or a pattern. It can be repeated: what is done already is left as it is.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "$0")/lib.sh"

entries='' excluded=''
while [[ ${1-} == -* ]]; do
  case $1,$# in
    --,*) shift && break ;;
    --yes,*) yes=1 && shift ;;
    --exclude,1) fail "$1 lacks its value; --help says more" ;;
    --exclude,*) excluded+=", $(json "$2")" && shift 2 ;;
    *) fail "there is no option $1; --help says more" ;;
  esac
done
[ $# -ge 2 ] || fail 'give the options, a team, and what its new members get; --help says more'
team=$1 && shift
for entry in "$@"; do
  entries+=", $(json "$entry")"
done

before=$(grpcurl -d @ "${admin[@]}" policy_service.v1.AdminService/GetTeam <<EOF
{"team": $(json "$team")}
EOF
)
etag=$(pick etag <<<"$before")

# The etag: if somebody changes the team after it was shown here, nothing is overwritten, the call is ABORTED.
update() { # VALIDATE_ONLY: true shows what would be
  grpcurl -d @ "${admin[@]}" policy_service.v1.AdminService/UpdateTeam <<EOF
{
  "team": {
    "id": $(json "$team"),
    "default_team_member_models": {"models": [${entries#, }], "excluded_models": [${excluded#, }]},
    "etag": $(json "$etag")
  },
  "update_mask": {"paths": ["default_team_member_models"]},
  "request_id": "$(new_id)",
  "validate_only": $1
}
EOF
}

plan=$(update true)
seeded=$(grpcurl -d @ "${admin[@]}" policy_service.v1.AdminService/ListMembers <<EOF
{"team": $(json "$team"), "scope_source": "SEEDED", "page_size": 1000}
EOF
)
echo "The default is  $(pick defaultTeamMemberModels <<<"$before")"
echo "and becomes     $(pick team.defaultTeamMemberModels <<<"$plan")"
pick 'warnings.*' <<<"$plan"
echo 'for new members, and for these (at most 1,000 are shown):'
pick 'members.*.user' <<<"$seeded"
confirm

updated=$(update false)
echo "The default is in effect since revision $(pick revision <<<"$updated"), for new members."
reseeded=$(grpcurl -d @ "${admin[@]}" policy_service.v1.AdminService/ReseedMembers <<EOF
{"team": $(json "$team"), "request_id": "$(new_id)"}
EOF
)
count=$(pick reseededCount <<<"$reseeded")
echo "Reseeded: ${count:-0}, in revision $(pick revision <<<"$reseeded")."
