#!/bin/sh
# An agent as a command: the job's payload on standard input, its result on standard output, both JSON.
#
#   agentpool worker --handler-command ./agent.sh --redis redis://localhost:6379/0 --pool default/shell
#
# Standard error is the job's log. Exit codes: 0 succeeded, 65 can never succeed, 75 busy (try later), others may be
# retried. What the worker knows of the job is in AGENTPOOL_JOB_ID, AGENTPOOL_KIND, AGENTPOOL_ATTEMPT, ….
set -eu

payload=$(cat)
echo "job $AGENTPOOL_JOB_ID, attempt $AGENTPOOL_ATTEMPT of $AGENTPOOL_MAX_ATTEMPTS" >&2

case $AGENTPOOL_KIND in
  count)
    # The payload is a JSON string: a path.
    path=${payload#\"}
    path=${path%\"}
    if [ ! -f "$path" ]; then
      echo "there is no file $path" >&2
      exit 65
    fi
    set -- $(wc -l -w -c <"$path")
    printf '{"lines": %d, "words": %d, "bytes": %d}\n' "$1" "$2" "$3"
    ;;
  busy-once)
    # Exit code 75 puts the job off without counting an attempt; what was saved is there the next time.
    if [ -z "${AGENTPOOL_STATE:-}" ]; then
      echo '{"checkpoint": "busy"}' >>"$AGENTPOOL_REPORT"
      exit 75
    fi
    printf '{"attempt": %d, "it was": %s}\n' "$AGENTPOOL_ATTEMPT" "$(cat "$AGENTPOOL_STATE")"
    ;;
  *)
    echo "no such job: $AGENTPOOL_KIND" >&2
    exit 65
    ;;
esac
