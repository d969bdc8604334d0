#!/usr/bin/env bash
# Asks what Envoy would be told about an HTTP request: whether it goes on, and with which headers, or what the client
# gets instead. Nothing is sent anywhere else.
#
#   check-http.sh [OPTION...] METHOD PATH
#
#   --header 'NAME: VALUE'  a header of the request; repeat it
#   --body FILE             its body; - is standard input. It is application/json unless a header says otherwise
#   --principal NAME        the name in the client's certificate
#
# Who asks is found as the service is configured (--ext-authz-config). If that needs context_extensions or claims of
# jwt_authn, put them beside "request". Exit status 0 says that there is an answer: allowed, denied, or unavailable.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=lib.sh
source "$(dirname "$0")/lib.sh"

headers='' body='' raw_body='' principal=''
header() { # NAME VALUE
  local name
  name=$(json "$(tr '[:upper:]' '[:lower:]' <<<"$1")")
  [[ $headers != *", $name: "* ]] || fail "$name is there twice; give it once, values joined by commas as Envoy does"
  headers+=", $name: $(json "$2")"
}
while [[ ${1-} == -* ]]; do
  case $1,$# in
    *,1) fail "$1 is no option, or lacks its value; --help says more" ;;
    --header,*)
      [[ $2 =~ ^([^:]+):\ *(.*)$ ]] || fail "'$2' is no header; give 'name: value'"
      header "${BASH_REMATCH[1]}" "${BASH_REMATCH[2]}"
      ;;
    --body,*) body=$2 ;;
    --principal,*) principal=$2 ;;
    *) fail "there is no option $1; --help says more" ;;
  esac
  shift 2
done
[ $# -eq 2 ] || fail 'give the options, and then a method and a path; --help says more'
method=$1 path=$2
if [ -n "$body" ]; then
  raw_body=$(cat -- "$body" | base64 | tr -d '\n')
  [[ $headers == *'"content-type": '* ]] || header content-type application/json
fi
padding=${raw_body##*[!=]}
size=$((${#raw_body} * 3 / 4 - ${#padding}))

answer=$(grpcurl -d @ "${access[@]}" envoy.service.auth.v3.Authorization/Check <<EOF
{
  "attributes": {
    "source": {"principal": $(json "$principal")},
    "request": {"http": {
      "method": $(json "$method"),
      "path": $(json "$path"),
      "headers": {${headers#, }},
      "raw_body": "$raw_body",
      "size": $size
    }}
  }
}
EOF
)
printf '%s\n' "$answer"
pick deniedResponse.body <<<"$answer"
