#!/usr/bin/env bash
# Holds a running server against its own description: starts a node, reads its /openapi.json, and asks
# whatever that allows, and what it does not allow. Any answer that is not described fails.
#
#   usage: run.sh SERVER DIRECTORY     (the binary; where the fuzzer's tools are kept)
#
# FUZZ_SEED and FUZZ_EXAMPLES ask other, and more, questions. The fuzzer is Schemathesis, in a Python
# environment of its own under DIRECTORY; where Python or its venv is missing, apt installs it.
set -euo pipefail

server=$(realpath "$1")
mkdir -p "$2"
tools=$(realpath "$2")/schemathesis
here=$(dirname "$(realpath "$0")")
limit=${FUZZ_SECONDS_MAX:-300}

install_tools() {
    # Made anew when what it should hold has changed, or when it was left half made.
    if cmp -s "$here/requirements.txt" "$tools/installed.txt"; then
        return
    fi
    if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
        echo 'fuzz: installing python3-venv'
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3 python3-venv
    fi
    rm -rf "$tools"
    python3 -m venv "$tools"
    "$tools/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
    cp "$here/requirements.txt" "$tools/installed.txt"
}

install_tools
scratch=$(mktemp -d)
node=
clean_up() {
    if [ -n "$node" ]; then
        kill "$node" 2>/dev/null || true
        wait "$node" 2>/dev/null || true
    fi
    rm -rf "$scratch"
}
trap clean_up EXIT

"$server" init --name fuzzed --data-dir "$scratch/data" >/dev/null
"$server" --name fuzzed --data-dir "$scratch/data" --listen 127.0.0.1:0 \
    --request-timeout 1s 2>"$scratch/log" &
node=$!
address=
for _ in $(seq 200); do
    address=$(sed -n 's/.* api=\([0-9.:]*\).*/\1/p' "$scratch/log" | head -n 1)
    [ -n "$address" ] && break
    sleep 0.1
done
if [ -z "$address" ]; then
    echo 'fuzz: the server does not say where it serves:' >&2
    cat "$scratch/log" >&2
    exit 1
fi

verdict=0
(
    cd "$scratch"
    timeout "$limit" "$tools/bin/schemathesis" --config-file "$here/schemathesis.toml" \
        run "http://$address/openapi.json" --wait-for-schema 20 \
        ${FUZZ_SEED:+--seed "$FUZZ_SEED"} ${FUZZ_EXAMPLES:+--max-examples "$FUZZ_EXAMPLES"}
) || verdict=$?
if [ "$verdict" -eq 124 ]; then
    echo "fuzz: not done within $limit s" >&2
fi
# A server that fell over fails, whatever it answered before.
if ! kill -0 "$node" 2>/dev/null; then
    echo 'fuzz: the server is gone' >&2
    verdict=1
fi
if [ "$verdict" -ne 0 ]; then
    echo 'fuzz: the log of the server:' >&2
    tail -n 50 "$scratch/log" >&2
fi
exit "$verdict"
