#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# make bench-programs: unmodified servers on the kernel's sockets and under `tandem run`, over the
# same veth pair, in turns; the clients are on the kernel's sockets. Medians of ROUNDS rounds, the ratio to
# the kernel's, and the servers' CPU time for each request (all of its processes, and the
# daemon's), as a table and as JSON in build/bench-programs.json.
#
#   $NS_A  eth0 10.77.0.1/24 ──── veth ──── eth0 10.77.0.2/24  $NS_B
#          wrk, redis-benchmark, bench_app  nginx, redis-server, memcached, haproxy
#
# wrk and redis-benchmark take about as long for a request as a fast server does: where their CPU is
# busy (last column) they are what limits the rate. So requests of one kind on connections that are kept are also
# made by bench_app, which takes less ("light client").
#
# Server and client have a CPU each; servers with two threads are also measured with both CPUs, the client then
# shares its own with them. ROUNDS (5), SECONDS_EACH (3), ONLY ("nginx redis memcached haproxy").

. "$(dirname "$0")/../selftests/lib.sh"
: "${ROUNDS:=5}" "${SECONDS_EACH:=3}" "${ONLY=nginx redis memcached haproxy}"
setup
# Where wrk closes first, what it leaves in TIME_WAIT must not make its kernel search for free ports.
in_a sysctl -qw net.ipv4.tcp_tw_reuse=1 net.ipv4.ip_local_port_range="1024 65535"
RAW=$TMP/raw
SERVER_CPU=0 CLIENT_CPU=$(($(nproc) > 1))
BOTH_CPUS=$SERVER_CPU,$CLIENT_CPU
root=$TMP/root
mkdir "$root"
head -c 1000 /dev/urandom >"$root/small"
echo "socket_mode = 0666" >"$TMP/tandem.conf" # memcached gives up root before it opens a socket
needed=
for p in nginx redis-server redis-benchmark memcached haproxy wrk; do
	command -v $p >/dev/null || needed="$needed $p"
done
[ -z "$needed" ] || die "not installed:$needed; run make deps"

client() { in_a taskset -c "$CLIENT_CPU" timeout $((SECONDS_EACH * 4 + 30)) "$@"; }

# Processes that serve: those in @1 and their children, and the daemon.
server_pids() { echo "${1// /$'\n'}"; pgrep -P "${1// /,}"; [ "$stack" = kernel ] || daemons; }
server_cpu_us() {
	local p n=0
	for p in $(server_pids "$1"); do n=$((n + $(cpu_us "$p"))); done
	echo $n
}

# Of the client's CPU: ticks in all, ticks without work.
client_ticks() { awk -v c="cpu$CLIENT_CPU" '$1 == c { print $2 + $3 + $4 + $5 + $6 + $7 + $8, $5 + $6 }' /proc/stat; }

# record TEST SERVER-PIDS COMMAND...: the command prints {"rate":, "count":, "p50_us":, "p99_us":}
record() {
	local test=$1 pid=$2 cpu line ticks busy
	shift 2
	cpu=$(server_cpu_us "$pid")
	read -ra ticks < <(client_ticks)
	line=$("$@") || {
		fail "$stack $test: $line"
		return
	}
	cpu=$(($(server_cpu_us "$pid") - cpu))
	busy=$(client_ticks | awk -v all="${ticks[0]}" -v idle="${ticks[1]}" '{ print 1 - ($2 - idle) / ($1 - all) }')
	jq -c --arg stack "$stack" --arg test "$test" --argjson cpu $cpu --argjson busy "$busy" \
		'. + {stack: $stack, test: $test, cpu_us: ($cpu / .count), client_busy: $busy}' <<<"$line" >>"$RAW"
	jq -r --arg what "$stack $test" '"  \($what): \(.rate | round)/s, p50 \(.p50_us) us, p99 \(.p99_us) us"' <<<"$line"
}

wrk_json() { # PORT PATH OPTIONS...
	cat >"$TMP/wrk.lua" <<-'END'
		done = function(s, l, r)
		  local bad = s.errors.connect + s.errors.read + s.errors.write + s.errors.status + s.errors.timeout
		  io.write(string.format('\nJSON{"rate":%f,"count":%d,"p50_us":%d,"p99_us":%d,"errors":%d}\n',
		    s.requests / (s.duration / 1e6), s.requests, l:percentile(50), l:percentile(99), bad))
		end
	END
	client wrk -t 1 -c 64 -d "$SECONDS_EACH" -s "$TMP/wrk.lua" "${@:3}" "http://$IP_B:$1$2" |
		sed -n 's/^JSON//p' | jq -ce 'select(.errors == 0)'
}

redis_json() { # COMMAND REQUESTS OPTIONS...
	local n=$2
	client redis-benchmark -h $IP_B -p 6379 -c 50 -t "$1" -n "$n" --csv "${@:3}" 2>&1 |
		awk -F'","|"' -v n="$n" 'NR == 2 { printf "{\"rate\":%s,\"count\":%d,\"p50_us\":%d,\"p99_us\":%d}\n",
			$3, n, $6 * 1000, $8 * 1000 }' | jq -ce .
}

light_json() { # PORT CONNECTIONS REQUEST REPLY-BYTES
	client "$B/tools/bench_app" rr --kernel --addr $IP_B --port "$1" --conns "$2" --seconds "$SECONDS_EACH" \
		--request "$3" --reply "$4" | jq -ce .
}
light_http_json() { # PORT PATH
	local bytes
	bytes=$(in_a curl -si "http://$IP_B:$1$2" | wc -c)
	light_json "$1" 64 "GET $2 HTTP/1.1\\r\\nHost: $IP_B\\r\\n\\r\\n" "$bytes"
}
# A value of 100 bytes.
value=$(printf %100s '' | tr ' ' x)

run_server() { # LOG COMMAND...: on the stack that is being measured, on $SERVER_CPU
	local log=$1 with=()
	shift
	[ "$stack" = kernel ] || with=("$TANDEM" run --on "$TD" --)
	start_b taskset -c "$SERVER_CPU" "${with[@]}" "$@" >"$log" 2>&1
	SERVER=$PID
}
reachable() { in_a python3 -c "import socket; socket.create_connection(('$IP_B', $1), 2)"; }
up() { wait_for 10 reachable "$1" || { cat "$2"; die "$stack: no server on port $1"; }; }

bench_nginx() {
	nginx_conf "$root" "$IP_B:80" off | sed '/access_log/a keepalive_requests 1000000000;' >"$TMP/nginx.conf"
	run_server "$TMP/log" nginx -e "$TMP/nginx.log" -c "$TMP/nginx.conf"
	up 80 "$TMP/log"
	record "nginx keep-alive" "$SERVER" wrk_json 80 /small
	record "nginx keep-alive, light client" "$SERVER" light_http_json 80 /small
	record "nginx close" "$SERVER" wrk_json 80 /small -H "Connection: close"
	stop "$SERVER"
	# As it is configured most often: a master, and workers that accept from one socket. A port of its own.
	nginx_conf "$root" "$IP_B:82" on | sed '/access_log/a keepalive_requests 1000000000;
		s/worker_processes 1/worker_processes 2/' >"$TMP/nginx.conf"
	run_server "$TMP/log" nginx -e "$TMP/nginx.log" -c "$TMP/nginx.conf"
	up 82 "$TMP/log"
	record "nginx keep-alive, 2 workers" "$SERVER" wrk_json 82 /small
	record "nginx close, 2 workers" "$SERVER" wrk_json 82 /small -H "Connection: close"
	stop "$SERVER"
}

bench_redis() {
	local each=$((SECONDS_EACH * 60000))
	run_server "$TMP/log" redis-server --save '' --appendonly no --bind "$IP_B" --protected-mode no --dir "$TMP"
	up 6379 "$TMP/log"
	record "redis SET" "$SERVER" redis_json set $each
	record "redis GET" "$SERVER" redis_json get $each
	record "redis SET, light client" "$SERVER" light_json 6379 50 "SET key $value\\r\\n" 5
	record "redis GET, light client" "$SERVER" light_json 6379 50 'GET key\r\n' 108
	record "redis SET, pipeline 16" "$SERVER" redis_json set $((each * 10)) -P 16
	record "redis GET, pipeline 16" "$SERVER" redis_json get $((each * 10)) -P 16
	stop "$SERVER"
}

memcached_with() { # NAME OPTIONS...
	run_server "$TMP/log" memcached -u nobody -l "$IP_B" "${@:2}"
	up 11211 "$TMP/log"
	in_a python3 -c "
import socket
s = socket.create_connection(('$IP_B', 11211), 2)
s.sendall(b'set key 0 0 100\r\n$value\r\n')
assert s.recv(100) == b'STORED\r\n'" || die "memcached stores nothing"
	record "memcached get, $1, light client" "$SERVER" light_json 11211 50 'get key\r\n' 124
	stop "$SERVER"
}
bench_memcached() {
	memcached_with "-t 1" -t 1
	memcached_with "-t 2" -t 2
	SERVER_CPU=$BOTH_CPUS memcached_with "-t 2, both CPUs" -t 2
}

listen_81() { # SOCKETS
	if [ "$stack" = tandem ]; then
		status_is "([.listeners[] | select(.port == 81)] | length) >= $1"
	else
		[ "$(ip netns exec "$NS_B" ss -Hltn 'sport = :81' | wc -l)" -ge "$1" ]
	fi
}
# It answers by itself, with two threads, or as two processes, which share nothing (SO_REUSEPORT).
haproxy_with() { # NAME PROCESSES THREADS
	local servers=() p
	sed "s/^global/&\nnbthread $3/" "$TMP/haproxy.cfg" >"$TMP/haproxy.$3.cfg"
	for ((p = 0; p < $2; p++)); do
		run_server "$TMP/log" haproxy -db -f "$TMP/haproxy.$3.cfg"
		servers+=("$SERVER")
	done
	up 81 "$TMP/log"
	wait_for 10 listen_81 "$2" || die "$stack: no $2 servers on port 81"
	record "haproxy keep-alive, $1" "${servers[*]}" wrk_json 81 /
	record "haproxy keep-alive, $1, light client" "${servers[*]}" light_http_json 81 /
	record "haproxy close, $1" "${servers[*]}" wrk_json 81 / -H "Connection: close"
	for p in "${servers[@]}"; do stop "$p"; done
}
bench_haproxy() {
	cat >"$TMP/haproxy.cfg" <<-END
		global
		defaults
		    mode http
		    timeout client 10s
		frontend f
		    bind $IP_B:81
		    http-request return status 200 content-type text/plain string "$(head -c 750 "$root/small" | base64 -w 0)"
	END
	haproxy_with "2 threads" 1 2
	SERVER_CPU=$BOTH_CPUS haproxy_with "2 threads, both CPUs" 1 2
	SERVER_CPU=$BOTH_CPUS haproxy_with "2 processes, both CPUs" 2 1
}

round() {
	local what
	for stack in kernel tandem; do
		[ $stack = kernel ] || attach --config "$TMP/tandem.conf" || exit 1
		for what in $ONLY; do "bench_$what"; done
		[ $stack = kernel ] || detach >/dev/null || die "detach"
	done
}

for ((r = 1; r <= ROUNDS; r++)); do
	echo "round $r of $ROUNDS"
	round
done
jq -s 'def median: sort | if length % 2 == 1 then .[length / 2 | floor]
		else (.[length / 2 - 1] + .[length / 2]) / 2 end;
	def of(s): map(select(.stack == s)) | {rate: (map(.rate) | median), p50_us: (map(.p50_us) | median),
		p99_us: (map(.p99_us) | median), cpu_us: (map(.cpu_us) | median),
		client_busy: (map(.client_busy) | median), rounds: length};
	. as $raw | group_by(.test) | map({test: .[0].test, kernel: of("kernel"), tandem: of("tandem")}
		| .ratio = {rate: (.tandem.rate / .kernel.rate), p50: (.tandem.p50_us / .kernel.p50_us),
			p99: (.tandem.p99_us / .kernel.p99_us), cpu: (.tandem.cpu_us / .kernel.cpu_us)})
	| {results: ., raw: $raw}' "$RAW" >"$B/bench-programs.json"
echo
echo "Medians of $ROUNDS rounds of about $SECONDS_EACH s; CPU: of the server, for each request; client: how busy its CPU is"
jq -r 'def x: . * 100 | round / 100 | "\(.) x"; def r: . * 100 | round / 100; def p: "\(. * 100 | round) %";
	.results[] | [.test, "\(.kernel.rate | round)/s", "\(.tandem.rate | round)/s (\(.ratio.rate | x))",
	"\(.kernel.p99_us)", "\(.tandem.p99_us) (\(.ratio.p99 | x))",
	"\(.kernel.cpu_us | r)", "\(.tandem.cpu_us | r) (\(.ratio.cpu | x))",
	"\(.kernel.client_busy | p)", "\(.tandem.client_busy | p)"] | @tsv' "$B/bench-programs.json" | awk -F'\t' '
	BEGIN { f = "  %-57s %12s %22s %8s %16s %7s %15s %7s %7s\n"
		printf f, "test", "kernel", "tandem", "p99 us", "tandem", "CPU us", "tandem", "client", "tandem" }
	{ printf f, $1, $2, $3, $4, $5, $6, $7, $8, $9 }'
echo "  all values: $B/bench-programs.json"
