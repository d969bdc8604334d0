#!/usr/bin/env bash
# Creates a team with its first members, in one revision, after showing what it would be.
#
#   onboard-team.sh [OPTION...] TEAM
#
#   --model ENTRY    what the team may use: a model, an access group or a pattern such as 'openai/*'; repeat it
#   --exclude ENTRY  but not this; repeat it
#   --default ENTRY  what a new member gets of that; repeat it. Without: all of it
#   --rpm N          how many requests a minute a new member gets
#   --admin USER     a first member who looks after the team; repeat it
#   --member USER    a first member; repeat it
#   --yes            do not ask
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "$0")/lib.sh"

models='' excluded='' defaults='' members='' limits=null
while [[ ${1-} == -* ]]; do
  case $1,$# in
    --,*) shift && break ;;
    --yes,*) yes=1 && shift && continue ;;
    *,1) fail "$1 is no option, or lacks its value; --help says more" ;;
  esac
  value=$(json "$2")
  case $1 in
    --model) models+=", $value" ;;
    --exclude) excluded+=", $value" ;;
    --default) defaults+=", $value" ;;
    --rpm) limits="{\"rpm_limit\": $value}" ;;
    --admin) members+=", {\"user\": $value, \"role\": \"TEAM_ADMIN\"}" ;;
    --member) members+=", {\"user\": $value, \"role\": \"MEMBER\"}" ;;
    *) fail "there is no option $1; --help says more" ;;
  esac
  shift 2
done
[ $# -eq 1 ] && [ -n "$models" ] || fail 'give the options, at least one --model, and then one team; --help says more'
team=$1 default='{"mode": "INHERIT"}'
[ -z "$defaults" ] || default="{\"models\": [${defaults#, }]}"

create() { # VALIDATE_ONLY: true shows what would be
  grpcurl -d @ "${admin[@]}" policy_service.v1.AdminService/CreateTeam <<EOF
{
  "team": {
    "id": $(json "$team"),
    "models": {"models": [${models#, }], "excluded_models": [${excluded#, }]},
    "default_team_member_models": $default,
    "default_member_limits": $limits
  },
  "members": [${members#, }],
  "request_id": "$(new_id)",
  "validate_only": $1
}
EOF
}

create true
confirm
created=$(create false)
echo "Created, in revision $(pick revision <<<"$created")."
