#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# tcp_retries1: when nothing comes back any more a connection's way is asked for again, by the daemon
# on behalf of the program that has it. The next hop changes its Ethernet address and tells nobody;
# of one connection the route changes as well.
#
#   $NS_A  eth0 10.77.0.1/24, 10.77.0.3 ──── veth ──── eth0 10.77.0.2/24  $NS_B
#          lo 10.78.0.1                                tandem run -- python3
#
# RFC 9293 MUST-20

. "$(dirname "$0")/../lib.sh"
setup
ip -n "$NS_A" addr add 10.77.0.3/24 dev eth0
ip -n "$NS_A" addr add 10.78.0.1/32 dev lo
ip -n "$NS_B" route add 10.78.0.1 via $IP_A
cat >"$TMP/echo.py" <<'END_PY'
import socket, threading
l = socket.create_server(("0.0.0.0", 7000))
print("listening", flush=True)
def echo(s):
    while data := s.recv(100):
        s.sendall(data)
while True:
    threading.Thread(target=echo, args=(l.accept()[0],), daemon=True).start()
END_PY
cat >"$TMP/client.py" <<'END_PY'
import socket, sys, threading, time
conns = {to: socket.create_connection((to, 7000)) for to in ("10.77.0.1", "10.78.0.1")}
def say(to):
    s = conns[to]
    s.settimeout(60)
    start = time.monotonic()
    s.sendall(b"x")
    assert s.recv(1) == b"x"
    print(to, "answered after", round(time.monotonic() - start, 1), flush=True)
for to in conns:
    say(to)
print("ready", flush=True)
sys.stdin.readline()
threads = [threading.Thread(target=say, args=(to,)) for to in conns]
for t in threads:
    t.start()
for t in threads:
    t.join()
print("done", flush=True)
END_PY
echo "tcp_retries1 = 1" >"$TMP/conf"
attach --config "$TMP/conf" || die "attach"
start_a python3 "$TMP/echo.py" >"$TMP/server"
wait_for 10 grep -q listening "$TMP/server" || die "no server"
mkfifo "$TMP/in"
start_b "$TANDEM" run --on "$TD" -- python3 "$TMP/client.py" <>"$TMP/in" >"$TMP/client" 2>&1
wait_for 10 grep -q ready "$TMP/client" || { cat "$TMP/client"; die "the client"; }
ip -n "$NS_A" link set eth0 address 02:00:00:00:00:77
ip -n "$NS_B" route replace 10.78.0.1 via 10.77.0.3
echo >"$TMP/in"
# Both connections would wait for a quarter of an hour, and then give up.
wait_for 40 grep -q done "$TMP/client"
sed 's/^/# /' "$TMP/client"
again() { [ "$(grep -c "^$1 answered" "$TMP/client")" = 2 ]; }
check "the neighbour's new address is found" again 10.77.0.1
check "and so is the new route" again 10.78.0.1
check "they were tandem's" [ "$("$TANDEM" stat "$TD" --json | jq .counters.TcpActiveOpens)" = 2 ]
check "detach" detach
