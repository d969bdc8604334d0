# shellcheck shell=bash disable=SC2034
# What the recipes share: the connection, values as JSON, a field of an answer, the question. Sourced, not run.
#
#   POLICY_SERVICE_ADDRESS        HOST:PORT or unix:PATH; default POLICY_SERVICE_SERVER, else 127.0.0.1:50051
#   POLICY_SERVICE_ADMIN_ADDRESS  where AdminService is, if it is not there
#   POLICY_SERVICE_TLS_CA         PEM file of the authorities the server may be from: talk TLS
#   POLICY_SERVICE_CLIENT_CERT, POLICY_SERVICE_CLIENT_KEY  PEM files of a certificate to show: talk TLS
#   POLICY_SERVICE_TOKEN_FILE     file with the bearer token to send

fail() { # MESSAGE
  printf '%s: %s\n' "${0##*/}" "$1" >&2
  exit 2
}

json() { # TEXT: as JSON, with quotes
  python3 -IS -X utf8 -c 'import json, sys; print(json.dumps(sys.argv[1].encode().decode()))' "$1" 2>/dev/null ||
    fail "not UTF-8: $1"
}

pick() { # PATH: what the JSON on standard input has there, such as team.etag, or members.*.user one a line
  python3 -IS -X utf8 -c '
import json, sys
found = [json.load(sys.stdin)]
for key in sys.argv[1].split("."):
    found = [value for one in found for value in (one if key == "*" else [one.get(key)]) if value is not None]
for value in found:
    print(value if isinstance(value, str) else json.dumps(value))' "$1"
}

new_id() { # for request_id, which makes it safe to send the same request again
  od -An -N16 -tx1 /dev/urandom | tr -d ' \n'
}

confirm() { # goes on if --yes was given, or somebody says so
  [ -z "$yes" ] || return 0
  [ -t 0 ] || fail 'nothing was changed: nobody can be asked here, and --yes was not given'
  read -r -p 'Do it? [y/N] ' answer || true
  [ "$answer" = y ] || fail 'nothing was changed'
}

connection() { # ADDRESS: sets the array `options`, which ends with the address
  options=(-connect-timeout 5 -max-time 30)
  # shellcheck disable=SC2016 # grpcurl puts the token in: no list of processes shows it
  [ -z "$token" ] || options+=(-expand-headers -H 'authorization: Bearer ${POLICY_SERVICE_TOKEN}')
  if [[ $1 == unix:* ]]; then
    options+=(-plaintext -unix "${1#unix:}")
  elif [ -n "$ca$cert$key" ]; then
    options+=(${ca:+-cacert "$ca"} ${cert:+-cert "$cert"} ${key:+-key "$key"} "$1")
  elif [[ -z $token || $1 =~ ^(localhost|\[::1\]|127(\.[0-9]{1,3}){3}):[0-9]+$ ]]; then
    options+=(-plaintext "$1")
  else
    fail "the token would go to $1 in plain text; set POLICY_SERVICE_TLS_CA to talk TLS"
  fi
}

if [[ ${1-} == --help ]]; then # the comment at the top of the recipe
  sed -n '2,/^[^#]/ s/^# \{0,1\}//p' "$0"
  exit
fi
command -v python3 >/dev/null || fail 'python3 is not installed, or not on the PATH'
address=${POLICY_SERVICE_ADDRESS:-${POLICY_SERVICE_SERVER:-127.0.0.1:50051}}
ca=${POLICY_SERVICE_TLS_CA:-} cert=${POLICY_SERVICE_CLIENT_CERT:-} key=${POLICY_SERVICE_CLIENT_KEY:-} token='' yes=''
if [ -n "${POLICY_SERVICE_TOKEN_FILE:-}" ]; then
  token=$(cat "$POLICY_SERVICE_TOKEN_FILE")
  [ -n "$token" ] || fail "$POLICY_SERVICE_TOKEN_FILE is empty"
  export POLICY_SERVICE_TOKEN=$token
fi
connection "$address" && access=("${options[@]}")
connection "${POLICY_SERVICE_ADMIN_ADDRESS:-$address}" && admin=("${options[@]}")
