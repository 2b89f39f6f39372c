#!/bin/sh
# A snapshot (RDB), from stdin, becomes the append-only file that a Redis with `appendonly yes` starts from: left to itself,
# it would pass over the snapshot, and begin empty. As the user that Redis runs as, while it does not run:
#   sh restore-rdb.sh DATA_FOLDER <redis.rdb
set -eu
cd "$1"
for there in appendonlydir dump.rdb; do
  [ ! -e $there ] || { echo "$1 has $there already: restore into an empty folder." >&2; exit 1; }
done
home=$(mktemp -d) server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$home" dump.rdb' EXIT
cat >dump.rdb
redis-server --port 0 --unixsocket "$home/sock" --dir . --dbfilename dump.rdb --appendonly no --save '' >"$home/log" &
server=$!
redis() { redis-cli -s "$home/sock" "$@"; }
until [ "$(redis ping 2>/dev/null)" = PONG ]; do # it loads the snapshot
  kill -0 $server 2>/dev/null || { cat "$home/log" >&2; echo "That snapshot cannot be loaded." >&2; exit 1; }
  sleep 0.2
done
redis config set appendonly yes >/dev/null
while redis info persistence | grep -Eq 'aof_rewrite_(in_progress|scheduled):1'; do sleep 0.2; done
redis info persistence | grep -q 'aof_last_bgrewrite_status:ok' || { cat "$home/log" >&2; exit 1; }
keys=$(redis dbsize)
redis shutdown nosave
wait $server
server=
echo "$1 has $keys keys."
