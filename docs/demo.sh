#!/usr/bin/env bash
# `make demo`: the main job on real input, with nothing configured. Safe to run again: nothing is read twice.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
run() { printf '\033[2m$ %s\033[0m\n' "$*"; "$@"; }

say "1. A local Elasticsearch"
run pagesight elasticsearch start

say "2. Index the samples"
# Two of them cannot be read, on purpose: exit code 1 means that some failed.
status=0
run pagesight index samples --collection samples || status=$?
if [ "$status" -gt 1 ]; then exit "$status"; fi

say "3. Find pages by what they show"
run pagesight search "photograph blue" --collection samples --size 2
say "   by what they say, on a scan"
run pagesight search "sluice gate carpenter" --collection samples --size 2
say "   and in another language"
run pagesight search "Hafengebühren" --language de --collection samples --size 2

say "4. What failed, and why"
run pagesight failures --collection samples

cat <<'NEXT'

What next:
  pagesight show annual-report.pdf:2      everything that is known of a page, and where its image lies
  pagesight index ~/Documents             your own files
  export JINA_API_KEY=…                   have jina-vlm describe the pages, then index again
  pagesight elasticsearch stop            end the local node
NEXT
