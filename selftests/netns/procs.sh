#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Servers of several processes under `tandem run`: workers that share a listener, processes that take
# a connection from the one that accepted it, sockets over exec. Clients on the kernel's sockets.
#
#   $NS_A  eth0 10.77.0.1/24 ──── veth ──── eth0 10.77.0.2/24  $NS_B
#          kernel's sockets                 tandem run -- PROGRAM

. "$(dirname "$0")/../lib.sh"
setup
root=$TMP/root
mkdir "$root" "$TMP/work"
random_file "$root/big" "${BIG_MB:-1024}"
head -c 1000 "$root/big" >"$root/small"
# Workers give up root before they attach; each process needs packet memory of its own.
printf 'socket_mode = 0666\numem_frames = 131072\n' >"$TMP/tandem.conf"
attach --config "$TMP/tandem.conf" || die "attach"

# serve LOG PROGRAM...: a server in $NS_B on tandem; its process id in $PID.
serve() {
	local log=$1
	shift
	start_b "$TANDEM" run --on "$TD" -- "$@" >"$log" 2>&1
}
have() {
	command -v "$1" >/dev/null && return
	skip "$1: not installed"
	return 1
}
# The port has a listener, and it is of tandem's; so many applications that are called $1.
apps() { status_is "[.applications[] | select(.comm == \"$1\")] | length == $2"; }
nothing_left() { status_is '(.applications | length) == 0 and (.listeners | length) == 0'; }
ended() { check "$1 leaves nothing" wait_for 10 nothing_left; }

# ---- nginx: a master and two workers ----

cat >"$TMP/ng.conf" <<END
daemon off;
pid $TMP/ng.pid;
error_log $TMP/ng.log info;
worker_processes 2;
user nobody nogroup;
events { worker_connections 4096; }
http {
	access_log off;
	sendfile on;
	keepalive_requests 1000000;
	server { listen 80; root $root; }
}
END
chmod 755 "$TMP" "$root" # for nobody
requests() { # of 100 connections, each with a request
	local out
	out=$(in_a curl -sS --max-time 30 -o /dev/null -w '%{http_code}\n' -H 'Connection: close' \
		"http://$IP_B/small?[1-100]")
	[ "$(grep -c '^200$' <<<"$out")" = 100 ]
}
handed() { status | jq -r '.listeners[].handed_over' | sort -n; }
balanced() { # the master has none, the workers have about as many each
	local n
	mapfile -t n < <(handed)
	echo "${n[@]}"
	[ ${#n[@]} = 3 ] && [ "${n[0]}" = 0 ] && [ "${n[1]}" -gt $((n[2] / 3)) ]
}
load() { # [WRK-OPTIONS]: wrk for 2 s without an error
	local out
	out=$(in_a timeout 30 wrk -t 1 -c 64 -d 2 "$@" "http://$IP_B/small")
	echo "$out"
	! grep -qE 'Socket errors|Non-2xx' <<<"$out" && grep -q '^Requests/sec' <<<"$out"
}
nginx_signal() { in_b "$TANDEM" run --on "$TD" -- nginx -e "$TMP/ng.log" -c "$TMP/ng.conf" -s "$1"; }
workers() { pgrep -P "$(cat "$TMP/ng.pid")" | sort; }
new_workers() { [ "$(workers | wc -l)" -ge 2 ] && [ -z "$(comm -12 <(echo "$1") <(workers))" ]; }
in_flight() { [ "$(stat -c %s "$TMP/big.got" 2>/dev/null || echo 0)" -gt 1000000 ]; }
reload() { # new workers while a download goes on with an old one
	local old curl i
	old=$(workers)
	in_a curl -sS --max-time 120 --limit-rate 200M -o "$TMP/big.got" "http://$IP_B/big" &
	curl=$!
	wait_for 10 in_flight || return 1
	for i in 1 2 3; do
		nginx_signal reload || return 1
		wait_for 10 requests || return 1
	done
	alive $curl && echo "and still it loads"
	wait $curl && cmp "$TMP/big.got" "$root/big" && wait_for 20 new_workers "$old"
}
worker_killed() { # while the other one works, nobody else notices
	local out
	start_a timeout 30 wrk -t 1 -c 16 -d 3 -H 'Connection: close' "http://$IP_B/small" >"$TMP/wrk"
	wait_for 5 flows_are_many || return 1
	kill -KILL "$(workers | head -n 1)"
	wait "$PID"
	cat "$TMP/wrk"
	# Connections that the dead one had accepted end with it: no more than it can have had.
	out=$(sed -n 's/.*Socket errors: connect \([0-9]*\), read \([0-9]*\), write \([0-9]*\), timeout \([0-9]*\)/\1 \2 \4/p' "$TMP/wrk")
	set -- ${out:-0 0 0}
	[ "$1" = 0 ] && [ "$2" -le 16 ] && [ "$3" = 0 ] && wait_for 10 requests
}
flows_are_many() { [ "$(flow_count)" -gt 4 ]; }
if have nginx; then
	serve "$TMP/ng.out" nginx -e "$TMP/ng.log" -c "$TMP/ng.conf"
	server=$PID
	check "nginx with workers listens" wait_for 10 listens 80
	check "nginx: 100 connections" wait_for 10 requests
	check "nginx: each process is there" apps nginx 3
	if have wrk; then
		check "nginx under wrk, 64 connections kept alive" load
		check "nginx under wrk, a connection for each request" load -H 'Connection: close'
		check "nginx: the workers share the work, the master has none" balanced
		check "nginx: a worker is killed" worker_killed
	fi
	check "nginx -s reload, and 1 GB meanwhile" reload
	check "nginx -s quit" nginx_signal quit
	check "nginx ends" wait_for 10 not alive "$server"
	ended nginx
fi

# ---- the end ----

check "no flow is left but those in TIME_WAIT" wait_for 20 flows_live 0
check "detach" detach
