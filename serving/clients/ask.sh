#!/usr/bin/env bash
# Asks a served model over REST with curl: ask.sh MODEL TEXT [ADDRESS]
#
#   ask.sh reviews "A film to remember."
#   ask.sh reviews "A film to remember." http://127.0.0.1:8501
#   ask.sh reviews/labels/stable "A film to remember."     (or reviews/versions/2)
#   CA=certificate.pem ask.sh reviews "A film to remember." https://localhost:8443
set -euo pipefail
if [ $# -lt 2 ]; then
  sed -n '2,7s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
model=$1 text=$2 address=${3:-http://127.0.0.1:8501}

# JSON wants backslash, quote and control characters escaped.
text=${text//\\/\\\\}
text=${text//\"/\\\"}
text=${text//$'\n'/\\n}
text=${text//$'\t'/\\t}
text=${text//$'\r'/\\r}

curl --silent --show-error --fail-with-body \
  ${CA:+--cacert "$CA"} \
  --header 'Content-Type: application/json' \
  --data "{\"instances\": [\"$text\"]}" \
  "$address/v1/models/$model:predict"
echo
