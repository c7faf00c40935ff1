#!/usr/bin/env bash
# `make demo`: the main job on real input, with nothing configured. Safe to run again: nothing is read twice.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
run() { printf '\033[2m$ %s\033[0m\n' "$*"; "$@"; }

say "1. A local Elasticsearch, a local Redis and a worker"
run pagesight elasticsearch start
run pagesight redis start
log="$(mktemp "${TMPDIR:-/tmp}/pagesight-worker.XXXXXX")"
printf '\033[2m$ pagesight worker 2> %s &\033[0m\n' "$log"
pagesight worker 2> "$log" &
worker=$!
# The worker ends with the demo; what it has not done stays in the queue.
trap 'kill -TERM "$worker" 2> /dev/null && wait "$worker" || true' EXIT

say "2. Queue the samples, and follow them"
batch="$(pagesight enqueue samples --collection samples 2> /dev/null)"
printf '\033[2m$ pagesight enqueue samples --collection samples\033[0m\n%s\n' "$batch"
# Two of them cannot be read, on purpose: exit code 1 means that some failed.
status=0
printf '\033[2m$ pagesight status %s --watch\033[0m\n' "$batch"
pagesight status "$batch" --watch &
watch=$!
# Without its worker the batch would be watched for ever.
while kill -0 "$watch" 2> /dev/null; do
  kill -0 "$worker" 2> /dev/null || kill "$watch"
  sleep 1
done
wait "$watch" || status=$?
if [ "$status" -gt 1 ]; then
  tail -n 20 "$log"
  exit "$status"
fi

say "3. Find pages by what they show"
run pagesight search "photograph blue" --collection samples --size 2
say "   by what they say, on a scan"
run pagesight search "sluice gate carpenter" --collection samples --size 2
say "   and in another language"
run pagesight search "Hafengebühren" --language de --collection samples --size 2

say "   and by meaning: French words find an English scan"
run pagesight search "réparation de la porte d'écluse" --collection samples --size 2

say "4. What failed, and why"
run pagesight failures --collection samples

cat <<'NEXT'

What next:
  source .venv/bin/activate               put `pagesight` on the path of this shell
  pagesight serve                         then open http://127.0.0.1:8765 and search in the browser
  pagesight show annual-report.pdf:2      everything that is known of a page, and where its image is stored
  pagesight worker                        work what is queued; as many workers as you like
  pagesight enqueue ~/Documents           queue your own files; `pagesight status --watch` follows
  pagesight index ~/Documents             the same without queue and worker
  export JINA_API_KEY=…                   have jina-vlm describe the pages, then queue them again
  pagesight redis stop; pagesight elasticsearch stop
NEXT
