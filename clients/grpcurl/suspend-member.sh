#!/usr/bin/env bash
# Blocks a user in all teams they are in, or in one: they may use nothing there, and lose nothing that they had.
#
#   suspend-member.sh [OPTION...] USER
#
#   --team TEAM  only in this team
#   --lift       the opposite: unblocks
#   --yes        do not ask
#
# Each team is a change of its own. It can be repeated: what is done already is left as it is. Teams whose
# unlisted_users are TEAM_SCOPE let everybody in, also a user who is suspended elsewhere.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "$0")/lib.sh"

team='' blocked=true
while [[ ${1-} == -* ]]; do
  case $1,$# in
    --,*) shift && break ;;
    --yes,*) yes=1 && shift ;;
    --lift,*) blocked=false && shift ;;
    --team,*)
      team=${2-}
      [ -n "$team" ] || fail '--team lacks its value; --help says more'
      shift 2
      ;;
    *) fail "there is no option $1; --help says more" ;;
  esac
done
[ $# -eq 1 ] || fail 'give the options, and then one user; --help says more'
user=$1

teams=() page_token=''
while :; do
  page=$(grpcurl -d @ "${admin[@]}" policy_service.v1.AdminService/ListMembers <<EOF
{"user": $(json "$user"), "team": $(json "$team"), "page_size": 1000, "page_token": $(json "$page_token")}
EOF
)
  while IFS= read -r found; do
    teams+=("$found")
  done < <(pick 'members.*.team' <<<"$page")
  page_token=$(pick nextPageToken <<<"$page")
  [ -n "$page_token" ] || break
done
[ ${#teams[@]} -gt 0 ] || fail "'$user' is in no such team"

update() { # TEAM VALIDATE_ONLY: true shows what would be
  grpcurl -d @ "${admin[@]}" policy_service.v1.AdminService/UpdateMember <<EOF
{
  "member": {"team": $(json "$1"), "user": $(json "$user"), "blocked": $blocked},
  "update_mask": {"paths": ["blocked"]},
  "request_id": "$(new_id)",
  "validate_only": $2
}
EOF
}

for team in "${teams[@]}"; do
  update "$team" true
done
confirm

status=0
for team in "${teams[@]}"; do
  # A failure leaves the other teams to be done all the same.
  updated=$(update "$team" false) || { status=$? && continue; }
  echo "In team '$team' blocked is $blocked, revision $(pick revision <<<"$updated")."
done
exit "$status"
