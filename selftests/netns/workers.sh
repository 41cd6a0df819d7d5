#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# A server of 64 processes with the packet memory that the defaults give: each has its part of it,
# and all of it comes back.
#
#   $NS_A  eth0 10.77.0.1/24 ──── veth ──── eth0 10.77.0.2/24  $NS_B
#          kernel's sockets                 tandem run -- nginx

. "$(dirname "$0")/../lib.sh"
setup
WORKERS=64
mkdir "$TMP/root"
random_file "$TMP/root/big" 20
head -c 1000 "$TMP/root/big" >"$TMP/root/small"
chmod -R a+rX "$TMP"
attach || die "attach"
cat >"$TMP/ng.conf" <<END
	daemon off;
	pid $TMP/ng.pid;
	error_log $TMP/ng.log warn;
	worker_processes $WORKERS;
	user nobody nogroup;
	events { worker_connections 256; }
	http {
		access_log off;
		keepalive_requests 1000000;
		server { listen 80 reuseport; root $TMP/root; }
	}
END
apps_are() { status_is ".applications | length == $1"; }
load() { # CONNECTIONS FILE: each gets it, all at the same time
	local i pids=()
	for i in $(seq "$1"); do
		in_a curl -sS --max-time 60 -o "$TMP/got.$i" "http://$IP_B/$2" &
		pids+=($!)
	done
	for i in "${pids[@]}"; do wait "$i" || return 1; done
	for i in $(seq "$1"); do cmp "$TMP/root/$2" "$TMP/got.$i" || return 1; done
}
requests() { # each on a connection of its own, so that they meet all workers
	local out
	out=$(in_a curl -sS --max-time 60 -o /dev/null -w '%{http_code}\n' -H 'Connection: close' \
		"http://$IP_B/small?[1-500]")
	[ "$(grep -c '^200$' <<<"$out")" = 500 ]
}
in_pool() { status | jq '.frames.pool + .frames.cached_by_daemon'; }
pool_has() { [ "$(in_pool)" -ge "$1" ]; }

before=$(in_pool)
start_b "$TANDEM" run --on "$TD" -- nginx -e "$TMP/ng.log" -c "$TMP/ng.conf" >"$TMP/ng.out" 2>&1
server=$PID
check "nginx listens" wait_for 20 listens 80
check "$WORKERS workers and their master are attached" wait_for 30 apps_are $((WORKERS + 1))
check "500 connections" requests
check "16 downloads of 20 MB at once" load 16 big
check "memory is left" pool_has 4096
check "nobody was refused" not grep -q 'packet memory' "$TMP/ng.out" "$TMP/ng.log"
check "nginx ends" stop "$server"
check "all leave" wait_for 20 apps_are 0
check "their frames are back" wait_for 20 pool_has $((before - 64))
check "detach" detach
