#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Clients and servers on one host, with lo attached beside the interface: the kernel's and tandem's
# meet there in both directions, at the interface's address and at 127.0.0.1.
#
#   $NS_A                           $NS_B
#   eth0 10.77.0.1/24 ── veth ──── eth0 10.77.0.2/24 ◄─┐
#   curl (kernel)                  lo   127.0.0.1/8  ◄─┴ one daemon
#                                    servers on tandem ◄─ lo ─► curl, redis-cli (kernel)
#                                    nginx (kernel)    ◄─ lo ─► http_fetch, curl on tandem

. "$(dirname "$0")/../lib.sh"
setup
root=$TMP/root
mkdir "$root"
random_file "$root/big" "${BIG_MB:-100}"
head -c 1000 "$root/big" >"$root/small"
lo_conf() { in_b sysctl -n net.ipv4.conf.lo.{accept_local,route_localnet,rp_filter}; }
lo_before=$(lo_conf)
b_curl() { in_b timeout 120 curl -sS --noproxy '*' "$@"; }
run() { in_b timeout 120 "$TANDEM" run --on "$TD" -- "$@"; }
# same CURL HOST:PORT FILE: as it is on disk
same() { "$1" -o "$TMP/got" "http://$2/$3" && cmp "$TMP/got" "$root/$3"; }
run_curl() { run curl -sS --noproxy '*' "$@"; }
fetch() { in_b timeout 120 "$B/tools/http_fetch" "$@"; }

check "attach to eth0 and lo" attach lo || die attach
check "status shows both" status_is '.interfaces | keys == ["eth0", "lo"]'
check "either names the attachment" sh -c "'$TANDEM' status lo --json | jq -e '.name == \"$TD\"'"
check "127.0.0.1 is an address of it" wait_for 5 status_is '.addresses | index("127.0.0.1") != null'
check "the kernel's own loopback traffic goes on" in_b ping -q -c 2 -W 1 127.0.0.1
check "to the interface's address, too" in_b ping -q -c 2 -W 1 $IP_B

# ---- clients of the kernel, server on tandem ----

serve_on "$TMP/server" "$B/tools/http_server" --port 80 --root "$root" || die "no server"
server=$PID
check "from the other host" sh -c "nsenter --net=/run/netns/$NS_A curl -sS -o '$TMP/got' http://$IP_B/small && cmp '$TMP/got' '$root/small'"
for host in $IP_B 127.0.0.1; do
	check "$host: small" same b_curl $host small
	check "$host: large" same b_curl $host big
	check "$host: 50 requests on one connection" sh -c "
		nsenter --net=/run/netns/$NS_B curl -sS --noproxy '*' -o '$TMP/got#1' 'http://$host/small?[1-50]' 2>&1 &&
		cmp '$TMP/got50' '$root/small'"
	check "$host: 50 connections" sh -c "for i in \$(seq 50); do
		nsenter --net=/run/netns/$NS_B curl -sS --noproxy '*' -o '$TMP/got' http://$host/small &&
		cmp '$TMP/got' '$root/small' || exit 1; done"
done

# ---- programs on tandem, server on tandem ----

for host in $IP_B 127.0.0.1; do
	check "$host: tandem to tandem, small" same fetch $host small
	check "$host: tandem to tandem, large" same fetch $host big
	check "$host: a program run on tandem reaches the server" same run_curl $host big
done
check "the data went directly" [ "$(xdp flow_direct)" -gt 1000 ]

# ---- programs on tandem, server of the kernel ----

nginx_conf "$root" "8080" on >"$TMP/nginx.conf"
start_b nginx -e "$TMP/nginx.log" -c "$TMP/nginx.conf"
wait_for 10 in_b curl -s -o /dev/null http://127.0.0.1:8080/ || die "nginx does not start"
for host in $IP_B 127.0.0.1; do
	check "$host: kernel to kernel, large" same b_curl $host:8080 big
	check "$host: tandem to kernel, small" same fetch $host:8080 small
	check "$host: tandem to kernel, large" same fetch $host:8080 big
	check "$host: a program run on tandem reaches the kernel's server" same run_curl $host:8080 big
done
refused() { fetch -o "$TMP/got" "http://$1/x" 2>&1 | grep -qi refused; }
check "nobody listens at 127.0.0.1: refused" refused 127.0.0.1:9
check "nobody listens at the own address: refused" refused $IP_B:9

# ---- binding ----

# put_server ADDRESS PORT: answers a PUT with the SHA-256 of what it was sent
cat >"$TMP/put.py" <<'END'
import hashlib, http.server, sys
class Put(http.server.BaseHTTPRequestHandler):
    def do_PUT(self):
        left, sha = int(self.headers["Content-Length"]), hashlib.sha256()
        if self.headers.get("Expect") == "100-continue":
            self.send_response_only(100)
            self.end_headers()
        while left:
            data = self.rfile.read(min(left, 1 << 20))
            sha.update(data)
            left -= len(data)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(sha.hexdigest().encode())
http.server.HTTPServer((sys.argv[1], int(sys.argv[2])), Put).serve_forever()
END
sum=$(sha256sum "$root/big")
put() { [ "$("$@" -T "$root/big")" = "${sum%% *}" ]; }
start_b "$TANDEM" run --on "$TD" -- python3 "$TMP/put.py" 127.0.0.1 8081 2>"$TMP/one.log"
one=$PID
check "a listener at 127.0.0.1 is tandem's" wait_for 10 status_is '.listeners[] | select(.port == 8081) | .address == "127.0.0.1"'
check "127.0.0.1: upload from the kernel" put b_curl http://127.0.0.1:8081/
check "127.0.0.1: upload from a program run on tandem" put run_curl http://127.0.0.1:8081/
check "not reached at the interface's address" not b_curl -o /dev/null http://$IP_B:8081/
check "nor from the other host" not in_a curl -sS -m 5 -o /dev/null http://$IP_B:8081/
stop "$one"

# ---- the kernel and tandem on one port ----

listen_kernel() { # ADDRESS PORT: with SO_REUSEADDR, and first without listening, as only that goes
	cat <<-END
		import socket, sys
		s = socket.socket()
		s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
		s.bind(("$1", $2))
		print("bound", flush=True)
		sys.stdin.readline()
		s.listen()
		print("listens", flush=True)
		sys.stdin.readline()
	END
}
in_use() { "$@" 2>&1 | grep -qi 'address already in use'; }
check "no warnings so far" status_is '.warnings == []'
check "a port that the kernel has is not tandem's to bind" in_use run python3 -m http.server --bind $IP_B 8080
check "a port that tandem has is not the kernel's to bind" in_use in_b python3 -m http.server --bind $IP_B 80
mkfifo "$TMP/go"
listen_kernel $IP_B 8082 >"$TMP/kernel.py"
exec 5<>"$TMP/go"
start_b python3 "$TMP/kernel.py" <"$TMP/go" >"$TMP/kernel.out" 2>&1
both=$PID
check "the kernel's is bound, and does not listen yet" wait_for 10 grep -q bound "$TMP/kernel.out"
start_b "$TANDEM" run --on "$TD" -- python3 "$TMP/put.py" $IP_B 8082 2>"$TMP/two.log"
two=$PID
check "a program that is run on tandem listens beside it (SO_REUSEADDR)" wait_for 10 listens 8082
echo >&5
check "the kernel's may not, then" wait_for 10 grep -qi 'address already in use' "$TMP/kernel.out"
wait "$both"
stop "$two"
# One that is written for the library has no socket of the kernel's that listens.
start_b python3 "$TMP/kernel.py" <"$TMP/go" >"$TMP/kernel.out"
both=$PID
check "again" wait_for 10 grep -q bound "$TMP/kernel.out"
serve_on "$TMP/two.log" "$B/tools/http_server" --addr $IP_B --port 8082 --root "$root"
two=$PID
check "a program of the library's listens beside it" wait_for 10 listens 8082
echo >&5
check "the kernel's listens, too" wait_for 10 grep -q listens "$TMP/kernel.out"
check "status warns of it" status_is '.warnings | length == 1 and (.[0] | test("^port 8082: .* at 10.77.0.2"))'
check "as text, too" sh -c "'$TANDEM' status '$TD' | grep -q '^warnings *port 8082'"
echo >&5
wait "$both"
check "and not any more when it is gone" status_is '.warnings == []'
exec 5>&-
stop "$two"

# ---- redis ----

redis=redis-server
if command -v $redis >/dev/null; then
	start_b "$TANDEM" run --on "$TD" -- $redis --bind 0.0.0.0 --protected-mode no --port 6379 --save '' >"$TMP/redis.log" 2>&1
	redis=$PID
	check "redis-server listens at all addresses" wait_for 10 listens 6379
	for host in $IP_B 127.0.0.1; do
		check "$host: redis-cli" sh -c "[ \"\$(nsenter --net=/run/netns/$NS_B redis-cli -h $host ping)\" = PONG ]"
		check "$host: redis-benchmark, 50 clients" in_b timeout 60 redis-benchmark -q -h $host -n 20000 -c 50 -t set,get
	done
	stop "$redis"
else
	skip "redis-server is not installed"
fi

# ---- the end ----

stop "$server"

check "no flow is left but those in TIME_WAIT" wait_for 10 flows_live 0
check "no frame is lost" wait_for 15 status_is '.frames | .bad == 0 and .injected == 0'
check "detach" detach
check "lo's settings are as they were" [ "$(lo_conf)" = "$lo_before" ]
check "lo has no XDP program" sh -c "! ip -n '$NS_B' -d link show lo | grep -q xdp"
check "127.0.0.1: kernel to kernel after it" same b_curl 127.0.0.1:8080 big

# A daemon that was killed: lo is set back by detach.
attach_lo() { attach lo; }
killed() {
	local pid
	pid=$(status | jq .pid)
	kill -KILL "$pid"
	wait_for 10 not alive "$pid"
}
check "attach, and kill the daemon" eval 'attach_lo && killed'
check "its settings of lo still stand" [ "$(lo_conf)" != "$lo_before" ]
check "detach from within the namespace" in_b "$TANDEM" detach "$TD"
check "lo's settings are as they were" [ "$(lo_conf)" = "$lo_before" ]
check "once more, detach from another one" eval 'attach_lo && killed && detach'
check "lo's settings are as they were, again" [ "$(lo_conf)" = "$lo_before" ]
