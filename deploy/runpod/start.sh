#!/usr/bin/env bash
# What a container of RunPod runs: the server, and the worker that takes RunPod's jobs to it. When one of them
# ends by itself, so does the container, with exit code 1. At SIGTERM the worker finishes its jobs, then the server
# is stopped. Arguments are the worker's.
set -uo pipefail
cd "$(dirname "$0")/../.."

# RunPod's gateway is the only way in: no proxy, and so no token of the operator.
unset NEUROQ_PROXY_HOST NEUROQ_PROXY_PORT NEUROQ_PROXY_GRPC_PORT NEUROQ_TOKEN NEUROQ_TOKEN_FILE

is_stopping=false
trap 'is_stopping=true' TERM INT

python -m client serve --foreground &
server=$!
"${NEUROQ_RUNPOD_PYTHON:-python}" -m deploy.runpod "$@" &
worker=$!

wait -n "$server" "$worker"
"$is_stopping" && kill -TERM "$worker" 2>/dev/null
"$is_stopping" || kill -KILL "$worker" 2>/dev/null  # no job can be finished any more
wait "$worker"
kill -TERM "$server" 2>/dev/null
wait "$server"
code=$?
"$is_stopping" || code=1
exit "$code"
