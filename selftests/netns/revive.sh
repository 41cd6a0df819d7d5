#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# The daemon is killed and started again, as systemd does, under real servers, which are not: nginx
# with a master that has the right to port 80 and workers that have not, and redis.
#
#   $NS_A  eth0 10.77.0.1/24 ──── veth ──── eth0 10.77.0.2/24  $NS_B
#          curl, redis-cli                  tandem run -- nginx :80, :8080; redis :6379

. "$(dirname "$0")/../lib.sh"
setup
root=$TMP/root
mkdir "$root"
head -c 1000 /dev/zero >"$root/small"
# Workers attach again after they have given up root.
printf 'socket_group = nogroup\n' >"$TMP/tandem.conf"
start() { attach --config "$TMP/tandem.conf"; }
restart() {
	local pid
	pid=$(status | jq .pid)
	kill -KILL "$pid"
	wait_for 10 not alive "$pid" && start
}
serve() { # LOG PROGRAM...
	start_b "$TANDEM" run --on "$TD" -- "${@:2}" >"$1" 2>&1
}
have() {
	command -v "$1" >/dev/null && return
	skip "$1: not installed"
	return 1
}
apps() { status_is "[.applications[] | select(.comm == \"$1\")] | length == $2"; }
requests() { # PORT: of 100 connections, each with a request
	local out
	out=$(in_a curl -sS --max-time 30 -o /dev/null -w '%{http_code}\n' -H 'Connection: close' \
		"http://$IP_B:$1/small?[1-100]")
	[ "$(grep -c '^200$' <<<"$out")" = 100 ]
}
members() { # PORT N: so many processes share it
	status_is "[.listeners[] | select(.port == $1)] | length == $2"
}
both_answer() { # PORT: both workers answer SYNs of it
	status_is "[.listeners[] | select(.port == $1 and .answers_syns)] | length == 2"
}
cat >"$TMP/ng.conf" <<END
daemon off;
pid $TMP/ng.pid;
error_log $TMP/ng.log info;
worker_processes 2;
user nobody nogroup;
events { worker_connections 1024; }
http {
	access_log off;
	server {
		listen 80 deferred;
		listen 8080 reuseport;
		root $root;
	}
}
END
chmod 755 "$TMP" "$root" # for nobody
redis_a() { in_a timeout 10 redis-cli -h $IP_B "$@"; }
redis_says() { [ "$(redis_a get key)" = value ]; }
same_workers() { [ "$(pgrep -P "$(cat "$TMP/ng.pid")" | sort | tr '\n' ' ')" = "$workers" ]; }

start || die "attach"
if have redis-server; then
	serve "$TMP/redis" redis-server --port 6379 --save '' --protected-mode no --dir "$TMP"
	redis=$PID
	check "redis listens" wait_for 10 listens 6379
	check "redis keeps a value" [ "$(redis_a set key value)" = OK ]
fi
if have nginx; then
	serve "$TMP/ng.out" nginx -e "$TMP/ng.log" -c "$TMP/ng.conf"
	nginx=$PID
	check "nginx with two workers is there" wait_for 10 apps nginx 3
	check "it answers on port 80" requests 80
	check "and on a port of which each worker has a listener" requests 8080
	workers=$(pgrep -P "$(cat "$TMP/ng.pid")" | sort | tr '\n' ' ')
fi
for round in 1 2; do
	check "$round: the daemon is killed, and started again" restart
	if [ -n "${nginx:-}" ]; then
		check "$round: nginx and its workers are there again" wait_for 20 apps nginx 3
		check "$round: port 80 has listeners in all of them" wait_for 20 members 80 3
		check "$round: 100 connections" wait_for 10 requests 80
		check "$round: of which each worker has its part" wait_for 10 both_answer 80
		check "$round: 100 to the port of each worker" wait_for 20 requests 8080
		check "$round: they are the same processes" same_workers
	fi
	if [ -n "${redis:-}" ]; then
		check "$round: redis has the value" wait_for 10 redis_says
	fi
done
# A program that has given up the right to open the control socket says so, and has it back later.
serve_on "$TMP/lone" "$TANDEM" run --on "$TD" -- python3 -c "import os, socket
l = socket.create_server(('$IP_B', 7777))
os.setgid(65533)
os.setgroups([])
os.setuid(65533)
print('listening', flush=True)
while True:
    l.accept()[0].sendall(b'hello')" || exit 1
lone=$PID
start() { attach --config "$TMP/other.conf"; }
printf 'socket_group = root\n' >"$TMP/other.conf"
check "again, for nobody but root" restart
check "a program that may not attach says so" wait_for 20 grep -q 'cannot attach again.*exclude you' "$TMP/lone"
check "once" [ "$(grep -c 'cannot attach again' "$TMP/lone")" = 1 ]
printf 'socket_mode = 0666\n' >"$TMP/other.conf"
check "and again, for everybody" restart
check "now it listens" wait_for 20 listens 7777
[ -z "${nginx:-}" ] || check "and so do workers" wait_for 20 requests 80
stop "$lone"

if [ -n "${nginx:-}" ]; then
	used=$(cpu_us "$nginx")
	check "without a daemon" detach
	for w in $workers; do used=$((used + $(cpu_us "$w"))); done
	sleep 2
	now=$(cpu_us "$nginx")
	for w in $workers; do now=$((now + $(cpu_us "$w"))); done
	check "nobody spins: $((now - used)) us in 2 s" [ $((now - used)) -lt 300000 ]
	printf "socket_group = nogroup\n" >"$TMP/other.conf"
	check "and with one again" start
	check "all is well" wait_for 20 requests 80
	stop "$nginx"
	grep -E ' \[(alert|crit|emerg)\] ' "$TMP/ng.log" >"$TMP/bad"
	check "nginx has nothing to complain of" [ ! -s "$TMP/bad" ]
	head "$TMP/bad"
	cat "$TMP/ng.out"
fi
if [ -n "${redis:-}" ]; then
	check "redis answers" wait_for 10 redis_says
	stop "$redis"
fi
check "detach" detach
