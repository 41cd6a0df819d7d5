#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Unmodified programs from Debian's packages under `tandem run`: as servers for clients on the
# kernel's sockets, and as clients of servers on the kernel's. docs/PROGRAMS.md has the table.
#
#   $NS_A  eth0 10.77.0.1/24 ──── veth ──── eth0 10.77.0.2/24  $NS_B
#          kernel's sockets                 tandem run -- PROGRAM

. "$(dirname "$0")/../lib.sh"
setup
root=$TMP/root
mkdir "$root" "$TMP/work"
random_file "$root/big" 100
head -c 1000 "$root/big" >"$root/small"
echo "socket_mode = 0666" >"$TMP/tandem.conf" # memcached gives up root before it opens a socket

on_tandem() { echo "$TANDEM" run --on "$TD" --; }
# shellcheck disable=SC2046 # words
t_run() { in_b timeout 60 $(on_tandem) "$@"; }
# serve LOG PROGRAM...: a server in $NS_B on tandem; its process id in $PID.
# shellcheck disable=SC2046
serve() {
	local log=$1
	shift
	cd "$TMP/work" && start_b $(on_tandem) "$@" >"$log" 2>&1
	cd "$TOP" || exit 1
}
have() {
	command -v "$1" >/dev/null && return
	skip "$1: not installed"
	return 1
}
# up PORT: does tandem listen there, and does a kernel client get through?
up() { wait_for 10 listens "$1" && wait_for 20 in_a python3 -c "
import socket; socket.create_connection(('$IP_B', $1), 2)"; }
# direct COMMAND...: it works, and its packets went straight to the program.
direct() {
	local before
	before=$(xdp_direct)
	"$@" && [ $(xdp_direct) -gt $((before + 4)) ]
}
fetch() { in_a curl -sS --max-time 60 "http://$IP_B:$1/big" | cmp - "$root/big"; }
fetch_small() { # PORT [CURL-OPTIONS]: 50 requests, on one connection or on as many
	local out
	out=$(in_a curl -sS --max-time 30 -o /dev/null -w '%{http_code}\n' "${@:2}" "http://$IP_B:$1/small?[1-50]")
	[ "$(grep -c '^200$' <<<"$out")" = 50 ]
}
load() { # PORT [WRK-OPTIONS]: wrk for 2 s without an error
	local out
	out=$(in_a timeout 30 wrk -t 1 -c 64 -d 2 "${@:2}" "http://$IP_B:$1/small")
	echo "$out"
	! grep -qE 'Socket errors|Non-2xx' <<<"$out" && grep -q '^Requests/sec' <<<"$out"
}
ends() { check "$1 ends on SIGTERM" stop "$2"; }

attach --config "$TMP/tandem.conf" || die "attach"
start_nginx "$root" 8000 || die "nginx on the kernel's sockets"

# ---- curl ----

curl_down() { t_run curl -sS "http://$IP_A:8000/big" | cmp - "$root/big"; }
curl_many() {
	[ "$(t_run curl -sS -o /dev/null -w '%{http_code}\n' "http://$IP_A:8000/small?[1-50]" | grep -c 200)" = 50 ]
}
curl_refused() {
	t_run curl -sS "http://$IP_A:9/"
	[ $? = 7 ]
}
check "curl downloads 100 MB" direct curl_down
check "curl: 50 requests on one connection" direct curl_many
check "curl: refused is refused" curl_refused

# ---- python3 ----

http_up() { # a PUT of 100 MB to a small server of the kernel's
	cat >"$TMP/put.py" <<-'END'
		import hashlib, http.server, sys
		class H(http.server.BaseHTTPRequestHandler):
		    def do_PUT(self):
		        h, left = hashlib.sha256(), int(self.headers["Content-Length"])
		        while left:
		            d = self.rfile.read(min(left, 1 << 20))
		            h.update(d); left -= len(d)
		        self.send_response(200); self.end_headers(); self.wfile.write(h.hexdigest().encode())
		    def log_message(self, *a): pass
		http.server.ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), H).serve_forever()
	END
	start_a python3 "$TMP/put.py" "$IP_A" 8001
	wait_for 20 in_a python3 -c "import socket; socket.create_connection(('$IP_A', 8001), 2)"
}
sum=$(sha256sum <"$root/big")
put_from_tandem() { [ "$(t_run curl -sS -T "$root/big" "http://$IP_A:8001/")" = "${sum%% *}" ]; }
put_to_tandem() { [ "$(in_a curl -sS --max-time 60 -T "$root/big" "http://$IP_B:8001/")" = "${sum%% *}" ]; }
check "a server for uploads" http_up
check "curl uploads 100 MB" put_from_tandem
serve "$TMP/py.log" python3 "$TMP/put.py" 0.0.0.0 8001
server=$PID
check "python3 ThreadingHTTPServer listens" up 8001
check "python3 takes 100 MB" direct put_to_tandem
ends "python3 ThreadingHTTPServer" "$server"

serve "$TMP/py.log" python3 -m http.server --bind 0.0.0.0 --directory "$root" 8080
server=$PID
check "python3 -m http.server listens" up 8080
check "python3 -m http.server: 50 connections" fetch_small 8080
check "python3 -m http.server sends 100 MB" direct fetch 8080
ends "python3 -m http.server" "$server"

cat >"$TMP/aio.py" <<'END'
import asyncio, os, sys
async def echo(r, w):
    while d := await r.read(65536):
        w.write(d)
        await w.drain()
    w.close()
async def client(host, port, n):
    r, w = await asyncio.open_connection(host, port)
    d = os.urandom(n)
    async def send():
        w.write(d)
        await w.drain()
        w.write_eof()
    t = asyncio.create_task(send())
    got = await r.read()
    await t
    w.close()
    return got == d
async def main():
    host, port = sys.argv[2], int(sys.argv[3])
    if sys.argv[1] == "server":
        await (await asyncio.start_server(echo, host, port)).serve_forever()
    ok = await asyncio.gather(*[client(host, port, 500000) for _ in range(100)])
    print(sum(ok), "of 100")
asyncio.run(main())
END
serve "$TMP/aio.log" python3 "$TMP/aio.py" server $IP_B 8002
server=$PID
check "python3 asyncio listens" up 8002
asyncio_client() { [ "$("$@" timeout 60 python3 "$TMP/aio.py" client "$HOST" 8002)" = "100 of 100" ]; }
HOST=$IP_B
check "python3 asyncio: 100 clients at once" direct asyncio_client in_a
ends "python3 asyncio" "$server"
start_a python3 "$TMP/aio.py" server $IP_A 8002
server=$PID
wait_for 20 in_a sh -c "ss -ltn | grep -q :8002"
HOST=$IP_A
check "python3 asyncio as client: 100 at once" direct asyncio_client t_run
stop "$server"

# ---- redis ----

bench() { # ARGUMENTS: redis-benchmark from the kernel's side; each test must print its rate
	local out
	out=$(in_a timeout 60 redis-benchmark -h $IP_B -t get,set -q "$@" | tr '\r' '\n')
	[ "$(grep -c 'requests per second' <<<"$out")" = 2 ]
}
redis_a() { in_a redis-cli -h $IP_B "$@"; }
redis_set() { redis_a -x set big <"$root/big" | grep -q OK; }
redis_get() { redis_a get big | head -c 104857600 | cmp - "$root/big"; }
redis_saved() {
	local info
	info=$(redis_a info persistence)
	grep -q rdb_bgsave_in_progress:0 <<<"$info" && grep -q rdb_last_bgsave_status:ok <<<"$info" &&
		[ -s "$TMP/work/dump.rdb" ]
}
redis_client() { t_run redis-benchmark -h $IP_A -t get -n 20000 -c 50 -q | grep -q 'requests per second'; }
if have redis-server; then
	serve "$TMP/redis.log" redis-server --bind $IP_B 127.0.0.1 --save '' --protected-mode no \
		--dir "$TMP/work"
	server=$PID
	check "redis-server listens" up 6379
	check "redis-server at 127.0.0.1, the kernel's" [ "$(in_b redis-cli -h 127.0.0.1 ping)" = PONG ]
	check "redis-benchmark, 50 clients" direct bench -n 50000 -c 50
	check "redis-benchmark, 50 clients, pipelines of 16" direct bench -n 200000 -c 50 -P 16
	check "redis-cli stores 100 MB" redis_set
	check "redis-cli gets it back" redis_get
	check "redis-server saves in the background" redis_a bgsave
	check "and has saved" wait_for 20 redis_saved
	ends redis-server "$server"
	start_a redis-server --bind $IP_A --save '' --protected-mode no >"$TMP/redis.log"
	server=$PID
	wait_for 20 in_a redis-cli -h $IP_A ping
	check "redis-cli as client" [ "$(t_run redis-cli -h $IP_A ping)" = PONG ]
	check "redis-benchmark as client" redis_client
	stop "$server"
fi

# ---- nginx ----

cat >"$TMP/ng.conf" <<END
daemon off;
master_process off;
pid $TMP/ng.pid;
error_log $TMP/ng.log;
user root;
events { worker_connections 4096; }
http {
	access_log off;
	sendfile on;
	keepalive_requests 1000000;
	server {
		listen 80;
		location / { root $root; }
		location /proxied/ { proxy_pass http://$IP_A:8000/; }
		location /local/ { proxy_pass http://127.0.0.1:8003/; }
	}
}
END
serve "$TMP/nginx.out" nginx -e "$TMP/ng.log" -c "$TMP/ng.conf"
server=$PID
check "nginx listens" up 80
check "nginx sends 100 MB" direct fetch 80
check "nginx: 50 requests" fetch_small 80
proxied() { in_a curl -sS --max-time 60 "http://$IP_B/$1" | cmp - "$root/big"; }
check "nginx as a proxy to a server of the kernel's" direct proxied proxied/big
start_b python3 -m http.server --bind 127.0.0.1 --directory "$root" 8003 2>"$TMP/py.log"
wait_for 20 in_b curl -s -o /dev/null http://127.0.0.1:8003/
check "nginx as a proxy to loopback" proxied local/big
if have wrk; then
	check "nginx under wrk, 64 connections kept alive" direct load 80
	check "nginx under wrk, a connection for each request" load 80 -H "Connection: close"
fi
ends nginx "$server"
if have wrk; then
	wrk_client() { t_run wrk -t 1 -c 64 -d 2 "http://$IP_A:8000/small" >"$TMP/wrk" &&
		grep -q ^Requests/sec "$TMP/wrk" && ! grep -q 'Socket errors' "$TMP/wrk"; }
	check "wrk as client" direct wrk_client
fi

# ---- memcached ----

cat >"$TMP/mc.py" <<'END'
import os, socket, sys
for i in range(50):
    s = socket.create_connection((sys.argv[1], 11211), 5)
    f, v = s.makefile("rb"), os.urandom(200000)
    s.sendall(b"set k%d 0 0 %d\r\n" % (i, len(v)) + v + b"\r\n")
    assert f.readline() == b"STORED\r\n"
    s.sendall(b"get k%d\r\n" % i)
    f.readline()
    assert f.read(len(v) + 2)[:-2] == v and f.readline() == b"END\r\n"
END
if have memcached; then
	serve "$TMP/mc.log" memcached -u nobody -l $IP_B -p 11211 -U 0 -t 2
	server=$PID
	check "memcached listens" up 11211
	check "memcached, 2 threads: 50 clients store and get" direct in_a timeout 30 python3 "$TMP/mc.py" $IP_B
	ends memcached "$server"
	check "its threads have waited to the end" not grep -q '\[warn\]' "$TMP/mc.log"
fi

# ---- iperf3 ----

iperf() { "$@" -J >"$TMP/iperf" && jq -e '.end.sum_received.bits_per_second > 1e8' "$TMP/iperf"; }
if have iperf3; then
	serve "$TMP/iperf.log" iperf3 -s
	server=$PID
	check "iperf3 -s listens" wait_for 10 listens 5201
	check "iperf3 -s receives" direct iperf in_a timeout 20 iperf3 -c $IP_B -t 1
	check "iperf3 -s sends" direct iperf in_a timeout 20 iperf3 -c $IP_B -t 1 -R
	check "iperf3 -s, both ways, 4 connections" direct iperf in_a timeout 20 iperf3 -c $IP_B -t 1 -P 4 --bidir
	stop "$server" # ends on a signal with status 1
	start_a iperf3 -4 -s >"$TMP/iperf.log"
	server=$PID
	# Not by connecting: of a client that says nothing iperf3 may take leave without its listener.
	wait_for 20 sh -c "ip netns exec $NS_A ss -Hltn 'sport = :5201' | grep -q ."
	check "iperf3 -c sends" iperf t_run iperf3 -c $IP_A -t 1
	check "iperf3 -c receives" iperf t_run iperf3 -c $IP_A -t 1 -R
	check "iperf3 -c, both ways" iperf t_run iperf3 -c $IP_A -t 1 --bidir
	stop "$server"
fi

# ---- node ----

cat >"$TMP/server.js" <<'END'
const http = require("http"), fs = require("fs"), path = require("path");
const [root, host] = process.argv.slice(2);
http.createServer((q, r) => fs.createReadStream(path.join(root, q.url.split("?")[0])).pipe(r))
	.listen(8090, host);
END
cat >"$TMP/client.js" <<'END'
const h = require("crypto").createHash("sha256");
require("http").get(process.argv[2], r => {
	r.on("data", d => h.update(d));
	r.on("end", () => console.log(h.digest("hex")));
});
END
if have node; then
	serve "$TMP/node.log" node "$TMP/server.js" "$root"
	server=$PID
	check "node listens" up 8090
	check "node sends 100 MB" direct fetch 8090
	check "node: 50 requests" fetch_small 8090
	have wrk && check "node under wrk" direct load 8090
	ends node "$server"
	node_client() { [ "$(t_run node "$TMP/client.js" http://$IP_A:8000/big)" = "${sum%% *}" ]; }
	check "node as client: 100 MB" direct node_client
fi

# ---- haproxy ----

cat >"$TMP/haproxy.cfg" <<END
global
	nbthread 2
defaults
	mode http
	timeout connect 5s
	timeout client 20s
	timeout server 20s
frontend web
	bind $IP_B:81
	default_backend kernel
backend kernel
	server nginx $IP_A:8000 check inter 200ms
listen pipes
	mode tcp
	option splice-request
	option splice-response
	bind $IP_B:82
	server nginx $IP_A:8000
END
if have haproxy; then
	serve "$TMP/haproxy.log" haproxy -db -f "$TMP/haproxy.cfg"
	server=$PID
	check "haproxy listens" up 81
	check "haproxy, 2 threads, in between: 100 MB" wait_for 20 direct fetch 81
	check "haproxy in between: 50 requests" fetch_small 81
	have wrk && check "haproxy in between, under wrk" direct load 81
	check "haproxy in between by splice(): 100 MB" direct fetch 82
	ends haproxy "$server"
fi

# ---- systemd-socket-proxyd: a listener over exec, and splice() alone ----

# What it starts has an environment of its own.
activated() { # PORT COMMAND...
	local env=() v
	for v in $(env | grep -oE '^(LD_PRELOAD|TANDEM_[A-Z_]*)=' | tr -d =); do
		env+=(-E "$v")
	done
	exec systemd-socket-activate "${env[@]}" -l "$IP_B:$1" "${@:2}"
}
export -f activated
export IP_A IP_B
proxyd=/lib/systemd/systemd-socket-proxyd
if have systemd-socket-activate && [ -x $proxyd ]; then
	serve "$TMP/proxyd.log" bash -c "activated 83 $proxyd $IP_A:8000"
	server=$PID
	check "systemd-socket-proxyd listens" wait_for 10 listens 83
	check "systemd-socket-proxyd in between: 100 MB" direct fetch 83
	check "systemd-socket-proxyd in between: 50 requests" fetch_small 83
	stop "$server"
fi

# ---- the end ----

check "no flow is left but those in TIME_WAIT" wait_for 20 flows_live 0
check "no application is left" wait_for 20 status_is '(.applications | length) == 0 and (.listeners | length) == 0'
check "detach" detach
