#!/usr/bin/env bash
# Writes what the documentation takes from the code: docs/ops.md, docs/coming_from_torch_tensorrt.md
# and the list of debug switches in docs/debugging.md. Needs a build (kiln-opt).
#
#     scripts/generate_docs.sh           write
#     scripts/generate_docs.sh --check   say what is out of date, and fail
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

build=${KILN_BUILD_DIR:-build/release}
kiln_opt=$build/bin/kiln-opt
[[ -x $kiln_opt ]] || { echo "generate_docs.sh: build kiln-opt first: ./dev build" >&2; exit 2; }
# What is listed are the defaults.
unset KILN_OPTIONS KILN_LOGS

new=$(mktemp -d)
trap 'rm -rf "$new"' EXIT

"$kiln_opt" --list-ops >"$new/ops.md"
python3 scripts/torchscript_ops_page.py >>"$new/ops.md"
python3 scripts/compat_page.py >"$new/coming_from_torch_tensorrt.md"

# Between the markers stand the switches, as a table.
"$kiln_opt" --list-switches |
  awk -F'\\): ' '{ name = $1; sub(/ \(.*/, "", name); value = $1; sub(/^[^(]*\(/, "", value)
                   text = substr($0, length($1) + 4); gsub(/\|/, "\\|", text)
                   print "| `" name "` | " value " | " text " |" }' >"$new/switches"
awk -v file="$new/switches" '
  /^<!-- switches: begin/ { print; print "| switch | default | what it does |"; print "|---|---|---|"
                            while ((getline line < file) > 0) print line; skip = 1 }
  /^<!-- switches: end/ { skip = 0 }
  !skip' docs/debugging.md >"$new/debugging.md"

status=0
for page in ops.md debugging.md coming_from_torch_tensorrt.md; do
  if [[ ${1-} == --check ]]; then
    if ! diff -u "docs/$page" "$new/$page"; then
      echo "docs/$page is out of date: run scripts/generate_docs.sh" >&2
      status=1
    fi
  elif ! cmp -s "docs/$page" "$new/$page"; then
    cp "$new/$page" "docs/$page"
  fi
done
exit $status
