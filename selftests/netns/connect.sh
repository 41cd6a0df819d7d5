#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# connect(): which local ports it takes, and what it says when it fails; the same program on the
# kernel's sockets and on tandem must print the same.
#
#   $NS_A  eth0 10.77.0.1/24 ──── veth ──── eth0 10.77.0.2/24  $NS_B
#          listeners, refusals,             ports 40000-40009, of which one is reserved
#          a route that is prohibited       and one has a socket of the kernel's
#
# RFC 9293 MUST-22, MUST-54

. "$(dirname "$0")/../lib.sh"
setup
in_b sysctl -qw net.ipv4.ip_local_port_range="40000 40009" net.ipv4.ip_local_reserved_ports=40003 \
	net.ipv4.tcp_syn_linear_timeouts=0 net.ipv4.tcp_timestamps=1
in_a sysctl -qw net.ipv4.ip_forward=1
ip -n "$NS_A" route add prohibit 10.99.1.0/24
ip -n "$NS_A" route add unreachable 10.99.2.0/24
ip -n "$NS_B" route add 10.99.0.0/16 via $IP_A
# Nobody's address at an Ethernet address that is somebody's: silence.
ip -n "$NS_A" route add blackhole 10.99.3.0/24
cat >"$TMP/listen.py" <<'END'
import socket, sys, time
socks = []
for port in sys.argv[2:]:
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((sys.argv[1], int(port)))
    s.listen(100)
    socks.append(s)
print("listening", flush=True)
time.sleep(300)
END
cat >"$TMP/connect.py" <<'END'
import errno, socket, struct, time

def opened(to, port=0, reset=True):
    s = socket.socket()
    if reset:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    if port:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("10.77.0.2", port))
    s.connect(to)
    return s

def says(what, fn):
    try:
        fn()
        print(what, "ok")
    except OSError as e:
        print(what, errno.errorcode.get(e.errno, e))

socks = []
for to in (("10.77.0.1", 8080), ("10.77.0.1", 8081)):
    try:
        for _ in range(20):
            socks.append(opened(to))
    except OSError as e:
        print(errno.errorcode[e.errno], "after", len(socks))
    print("ports", sorted(s.getsockname()[1] for s in socks if s.getpeername() == to))
for s in socks:
    s.close()
says("a port again", lambda: opened(("10.77.0.1", 8080)).close())
says("a port of the program's choice", lambda: opened(("10.77.0.1", 8080), 41000).close())
says("one that the kernel has", lambda: opened(("10.77.0.1", 8080), 40005))
says("refused", lambda: opened(("10.77.0.1", 9)))
says("prohibited", lambda: opened(("10.99.1.1", 80)))
says("unreachable", lambda: opened(("10.99.2.1", 80)))

def silent(opt, value):
    s = socket.socket()
    s.setsockopt(socket.IPPROTO_TCP, opt, value)
    start = time.monotonic()
    says("silence", lambda: s.connect(("10.99.3.1", 80)))
    print("took", round(time.monotonic() - start))

silent(socket.TCP_SYNCNT, 1)
silent(socket.TCP_USER_TIMEOUT, 1900)
s = socket.socket()
says("broadcast", lambda: s.connect(("10.77.0.255", 80)))
END
start_a python3 "$TMP/listen.py" 0.0.0.0 8080 8081 >"$TMP/la"
start_b python3 "$TMP/listen.py" $IP_B 40005 >"$TMP/lb"
wait_for 10 grep -q listening "$TMP/la" && wait_for 10 grep -q listening "$TMP/lb" || die "listeners"
in_b timeout 60 python3 "$TMP/connect.py" >"$TMP/kernel" 2>&1
attach || die "attach"
in_b timeout 60 "$TANDEM" run --on "$TD" -- python3 "$TMP/connect.py" >"$TMP/tandem" 2>&1
sed 's/^/# /' "$TMP/kernel"
check "the kernel's ports are what was set" grep -q "ports \[40000, 40001, 40002, 40004, 40006, 40007, 40008, 40009\]" \
	"$TMP/kernel"
check "tandem says the same" diff "$TMP/kernel" "$TMP/tandem"
check "and tandem it was" [ "$("$TANDEM" stat "$TD" --json | jq .counters.TcpActiveOpens)" -ge 20 ]
check "detach" detach
