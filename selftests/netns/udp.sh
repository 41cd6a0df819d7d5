#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# UDP: unmodified programs as servers on tandem for clients on the kernel's sockets, and the other way
# round; one socket between both worlds; processes that share a port, die, or outlive the daemon.
#
#   $NS_A  eth0 10.77.0.1/24 ──── veth ──── eth0 10.77.0.2/24  $NS_B
#          kernel's sockets                 tandem run -- PROGRAM

. "$(dirname "$0")/../lib.sh"
setup

run="$TANDEM run --on $TD --"
mib() { "$TANDEM" stat "$TD" --json | jq ".counters.$1"; }
have() {
	command -v "$1" >/dev/null && return
	skip "$1: not installed"
	return 1
}
# by_tandem N COMMAND...: it works, and at least N datagrams came in through tandem meanwhile.
by_tandem() {
	local before n=$1
	shift
	before=$(mib UdpInDatagrams)
	"$@" || return 1
	[ $(($(mib UdpInDatagrams) - before)) -ge "$n" ] || {
		echo "only $(($(mib UdpInDatagrams) - before)) datagrams by tandem"
		return 1
	}
}
ports() { bpftool map dump pinned "/sys/fs/bpf/tandem/$TD/ports" -j | jq '[.[]? | select((.formatted // .).key.proto == 17)] | length'; }
ports_are() { [ "$(ports)" = "$1" ]; }
frames_back() { status_is '.frames.total == .frames.pool + .frames.fill + .frames.owned_by_daemon + .frames.tx'; }

cat >"$TMP/echo.py" <<'P'
import os, socket, sys
six = "six" in sys.argv
s = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_DGRAM)
if "reuseport" in sys.argv:
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
s.bind(("::" if six else "0.0.0.0", int(sys.argv[1])))
if "fork" in sys.argv and os.fork():
    os._exit(0)
print("up", os.getpid(), flush=True)
tag = b"%d " % os.getpid() if "tag" in sys.argv else b""
while True:
    data, addr = s.recvfrom(70000)
    s.sendto(tag + data, addr)
P
# rounds ADDRESS PORT N SIZE: N datagrams that come back, from one socket each for ten of them.
# An address with a colon: from sockets of AF_INET6.
cat >"$TMP/rounds.py" <<'P'
import os, socket, sys
host, port, n, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
lost, who = 0, set()
for i in range(n):
    if i % 10 == 0:
        s = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        s.settimeout(1)
    data = os.urandom(size)
    s.sendto(data, (host, port))
    try:
        got, addr = s.recvfrom(70000)
        if not got.endswith(data) or addr[:2] != (host, port):
            sys.exit("wrong datagram")
        who.add(got[: len(got) - size])
    except TimeoutError:
        lost += 1
print(len(who))
sys.exit(lost > n // 20 and "%d lost" % lost)
P
rounds() { python3 "$TMP/rounds.py" "$@"; }
echo_up() { grep -q up "$TMP/echo"; }
start_echo() { : >"$TMP/echo"; start_b $run python3 "$TMP/echo.py" "$@" >"$TMP/echo"; wait_for 10 echo_up; }

attach || die "attach"

# ---- both directions, all sizes ----

start_a python3 "$TMP/echo.py" 6000 >/dev/null
start_echo 5000 || die "echo server on tandem"
server=$PID
check "one port is tandem's" ports_are 1
check "status tells whose" status_is '.udp | length == 1 and .[0].port == 5000 and .[0].comm == "python3"'
check "a server: small datagrams" by_tandem 200 in_a python3 "$TMP/rounds.py" $IP_B 5000 200 100
check "a server: 60,000 bytes, in fragments" by_tandem 50 in_a python3 "$TMP/rounds.py" $IP_B 5000 50 60000
check "it also serves this host" in_b python3 "$TMP/rounds.py" 127.0.0.1 5000 20 1000
check "a client: small datagrams" by_tandem 150 in_b $run python3 "$TMP/rounds.py" $IP_A 6000 200 100
check "a client: 60,000 bytes, in fragments" by_tandem 40 in_b $run python3 "$TMP/rounds.py" $IP_A 6000 50 60000
check "a client of this host" in_b $run python3 "$TMP/rounds.py" 127.0.0.1 5000 20 100
in_b sysctl -qw net.ipv4.ip_local_port_range="40000 40999"
check "a neighbour that nobody knows is found" \
	sh -c "ip -n $NS_B neigh flush all; nsenter --net=/run/netns/$NS_B $run python3 $TMP/rounds.py $IP_A 6000 20 100"
check "clients' ports go with them" wait_for 5 ports_are 1
check "the server ends on SIGTERM" stop "$server"
check "and its port is nobody's" wait_for 5 ports_are 0
check "closed port: refused by the kernel again" in_a python3 -c "
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect(('$IP_B', 5000)); s.settimeout(2)
s.send(b'x')
try: s.recv(1)
except ConnectionRefusedError: pass"

# ---- AF_INET6 sockets, for IPv4 and IPv6 at once ----

in_b sysctl -qw net.ipv6.conf.lo.disable_ipv6=0
start_echo 5005 six || die "echo server on ::"
server=$PID
check "a server on :: has its port on tandem" ports_are 1
check "and serves IPv4" by_tandem 200 in_a python3 "$TMP/rounds.py" $IP_B 5005 200 100
check "in fragments, too" by_tandem 50 in_a python3 "$TMP/rounds.py" $IP_B 5005 50 60000
check "and IPv6, by the kernel" in_b python3 "$TMP/rounds.py" ::1 5005 20 1000
check "and this host's IPv4" in_b python3 "$TMP/rounds.py" 127.0.0.1 5005 20 1000
check "a client of AF_INET6 of a mapped address" \
	by_tandem 150 in_b $run python3 "$TMP/rounds.py" ::ffff:$IP_A 6000 200 100
check "one of ::1" in_b $run python3 "$TMP/rounds.py" ::1 5005 20 100
check "clients' ports go with them" wait_for 5 ports_are 1
check "the server on :: ends" stop "$server"
check "and its port is nobody's" wait_for 5 ports_are 0
start_echo 5006 six reuseport tag
one=$PID
start_echo 5006 six reuseport tag
two=$PID
shared6() { local n; n=$(in_a python3 "$TMP/rounds.py" $IP_B 5006 300 50) && [ "$n" = "$1" ]; }
check "SO_REUSEPORT on ::: two processes share a port" by_tandem 250 shared6 2
start_echo 5006 reuseport tag
check "one on 0.0.0.0 has it alone" by_tandem 250 shared6 1
stop "$PID"
check "and when it ends, the two have it" by_tandem 250 shared6 2
stop "$one"
stop "$two"
start_echo 5007 six fork
check "a server on :: that forks after bind() goes on" \
	wait_for 5 in_a python3 "$TMP/rounds.py" $IP_B 5007 20 100
check "its child takes the port over" by_tandem 15 in_a python3 "$TMP/rounds.py" $IP_B 5007 20 100
kill "$(cut -d" " -f2 "$TMP/echo")"
wait_for 5 ports_are 0

cat >"$TMP/echo.js" <<'P'
const s = require("dgram").createSocket("udp6");
s.on("message", (m, r) => s.send(m, r.port, r.address));
s.bind(5008, "::", () => console.log("up"));
P
cat >"$TMP/Echo.java" <<'P'
import java.net.*;
class Echo {
    public static void main(String[] a) throws Exception {
        DatagramSocket s = new DatagramSocket(5009);
        System.out.println("up");
        for (DatagramPacket p = new DatagramPacket(new byte[70000], 70000); ; p.setLength(70000)) {
            s.receive(p);
            s.send(p);
        }
    }
}
P
# serves6 NAME PORT COMMAND...: a program whose socket is of AF_INET6 echoes.
serves6() {
	: >"$TMP/echo"
	start_b $run "${@:3}" >"$TMP/echo"
	wait_for 60 echo_up || die "$1"
	check "$1: IPv4, by tandem" by_tandem 100 in_a python3 "$TMP/rounds.py" $IP_B "$2" 100 1000
	check "$1: IPv6, by the kernel" in_b python3 "$TMP/rounds.py" ::1 "$2" 20 1000
	stop "$PID"
	check "$1: its port is nobody's" wait_for 5 ports_are 0
}
if have node; then
	serves6 "node, udp6" 5008 node "$TMP/echo.js"
fi
if have javac; then
	javac -d "$TMP" "$TMP/Echo.java"
	serves6 "java" 5009 java -cp "$TMP" -Xshare:auto Echo
fi

# ---- what routers say ----

# $NS_A is one, to a network that takes 1400 bytes.
cat >"$TMP/routers.py" <<'P'
import errno, select, socket, struct, sys
router, far = sys.argv[1], ("203.0.113.9", 33434)
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_IP, 11, 1) # IP_RECVERR
s.setsockopt(socket.IPPROTO_IP, 10, 2) # IP_MTU_DISCOVER, IP_PMTUDISC_DO
def failed(data):
    p = select.poll(); p.register(s, 0)
    assert p.poll(5000)[0][1] == select.POLLERR
    got, anc, flags, to = s.recvmsg(2000, 500, socket.MSG_ERRQUEUE)
    assert to == far and flags == socket.MSG_ERRQUEUE and data[:len(got)] == got
    num, origin, typ, code, _, info, _, fam, _, addr = struct.unpack("=IBBBBIIHH4s", anc[0][2][:24])
    return errno.errorcode[num], origin, typ, code, info, fam and socket.inet_ntoa(addr), len(got)
def says(data, *want):
    got = failed(data)
    assert got == want, got
s.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 1)
s.sendto(b"a probe", far)
says(b"a probe", "EHOSTUNREACH", 2, 11, 0, 0, router, 7)
s.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 64)
big = bytes(range(184)) * 8
s.sendto(big, far)
says(big, "EMSGSIZE", 2, 3, 4, 1400, router, 520)
try:
    s.sendto(big, far)
    sys.exit("larger than the way's MTU, and sent")
except OSError as e:
    assert e.errno == errno.EMSGSIZE
s.connect(far)
try:
    s.send(big)
except OSError as e:
    assert e.errno == errno.EMSGSIZE
assert s.recvmsg(9, 500, socket.MSG_ERRQUEUE)[3] == (far[0], 0)
says(b"", "EMSGSIZE", 1, 0, 0, 1400, 0, 0)
assert s.getsockopt(socket.IPPROTO_IP, 14) == 1400 # IP_MTU
assert s.send(big[:1372]) == 1372
# A probe goes by the interface's MTU, in a row (UDP_SEGMENT) as alone.
s.setsockopt(socket.IPPROTO_IP, 10, 3) # IP_MTU_DISCOVER, IP_PMTUDISC_PROBE
assert s.send(big) == len(big)
s.setsockopt(socket.IPPROTO_UDP, 103, len(big))
for i in range(100):
    try:
        assert s.send(big * 2) == 2 * len(big)
        break
    except OSError as e: # what came of the first one
        assert e.errno == errno.EMSGSIZE
        s.recvmsg(2000, 500, socket.MSG_ERRQUEUE)
else:
    sys.exit("no row of probes")
P
ip -n "$NS_A" link add mtu1400 mtu 1400 type veth peer name far
ip -n "$NS_A" link set mtu1400 up
ip -n "$NS_A" link set far up
ip -n "$NS_A" route add 203.0.113.0/24 dev mtu1400
ip -n "$NS_B" route add 203.0.113.0/24 via $IP_A
in_a sysctl -qw net.ipv4.ip_forward=1 net.ipv4.icmp_ratelimit=0
check "the kernel's error queue has what routers say" in_b python3 "$TMP/routers.py" $IP_A
in_b ip route flush cache
out=$(mib UdpOutDatagrams)
check "and so has tandem's" in_b $run python3 "$TMP/routers.py" $IP_A
check "and it was tandem's" [ $(($(mib UdpOutDatagrams) - out)) -ge 3 ]
in_a sysctl -qw net.ipv4.ip_forward=0

# ---- processes ----

start_echo 5001 reuseport tag
one=$PID
start_echo 5001 reuseport tag
two=$PID
shared() { local n; n=$(in_a python3 "$TMP/rounds.py" $IP_B 5001 300 50) && [ "$n" = "$1" ]; }
check "SO_REUSEPORT: two processes share a port" by_tandem 250 shared 2
kill -KILL "$one"
wait_for 5 not alive "$one"
check "one is killed: the other has all" by_tandem 95 shared 1
check "it ends" stop "$two"
# Killed in the middle of a flood, again and again, with datagrams and fragments in every ring.
cat >"$TMP/flood.py" <<'P'
import socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
end = time.monotonic() + 30
small, large = b"x" * 100, b"y" * 9000
while time.monotonic() < end:
    for _ in range(50):
        s.sendto(small, (sys.argv[1], 5001))
    s.sendto(large, (sys.argv[1], 5001))
P
start_a python3 "$TMP/flood.py" $IP_B
flood=$PID
above() { [ "$(mib UdpOutDatagrams)" -gt "$1" ]; }
killed() {
	local i
	for i in 1 2 3 4 5; do
		start_echo 5001 || return 1
		wait_for 10 above $(($(mib UdpOutDatagrams) + 100)) || return 1
		kill -KILL "$PID"
		wait_for 5 ports_are 0 || return 1
	done
}
check "killed five times under a flood" killed
kill "$flood"
check "no frame is lost by all that" wait_for 10 frames_back

# Bound before it goes into the background: the parent, which was the one attached, has left.
start_echo 5002 fork
check "a server that forks after bind() goes on" \
	wait_for 5 in_a python3 "$TMP/rounds.py" $IP_B 5002 20 100
check "its child takes the port over" by_tandem 15 in_a python3 "$TMP/rounds.py" $IP_B 5002 20 100
kill "$(cut -d" " -f2 "$TMP/echo")"

# ---- programs ----

cat >"$TMP/aio.py" <<'P'
import asyncio, sys
class Echo(asyncio.DatagramProtocol):
    def connection_made(self, t): self.t = t
    def datagram_received(self, data, addr): self.t.sendto(data, addr)
class Client(asyncio.DatagramProtocol):
    def __init__(self): self.got = asyncio.Queue()
    def datagram_received(self, data, addr): self.got.put_nowait(data)
async def server(port):
    await asyncio.get_running_loop().create_datagram_endpoint(Echo, local_addr=("0.0.0.0", port))
    print("up", flush=True)
    await asyncio.sleep(3600)
async def client(host, port):
    loop = asyncio.get_running_loop()
    async def one(i):
        t, p = await loop.create_datagram_endpoint(Client, remote_addr=(host, port))
        for j in range(20):
            data = b"%d %d" % (i, j)
            for _ in range(5):
                t.sendto(data)
                try:
                    if await asyncio.wait_for(p.got.get(), 1) == data: break
                except asyncio.TimeoutError: pass
            else: sys.exit("no answer")
        t.close()
    await asyncio.gather(*(one(i) for i in range(30)))
asyncio.run(server(int(sys.argv[2])) if sys.argv[1] == "server" else client(sys.argv[1], int(sys.argv[2])))
P
: >"$TMP/echo"
start_b $run python3 "$TMP/aio.py" server 5003 >"$TMP/echo"
wait_for 10 echo_up || die "asyncio server"
check "python asyncio: server" by_tandem 600 in_a timeout 60 python3 "$TMP/aio.py" $IP_B 5003
check "asyncio ends on SIGTERM" stop "$PID"
start_a python3 "$TMP/aio.py" server 6003 >/dev/null
check "python asyncio: client" by_tandem 500 in_b timeout 60 $run python3 "$TMP/aio.py" $IP_A 6003

# dnsmasq ADDRESS: answers for the names of td.test.
dnsmasq_conf() { echo "--no-daemon --no-resolv --no-hosts --port=$2 --listen-address=$1 --bind-interfaces \
	--address=/td.test/10.9.8.7 --user=root --pid-file= --conf-file=/dev/null"; }
asks() { [ "$(dig +short +tries=3 +time=2 "${@:3}" "@$1" -p "$2" www.td.test)" = 10.9.8.7 ]; }
if have dnsmasq && have dig; then
	start_b $run dnsmasq $(dnsmasq_conf $IP_B 5300) >"$TMP/dnsmasq" 2>&1
	server=$PID
	check "dnsmasq: serves dig" wait_for 10 in_a dig +short +tries=1 +time=1 @$IP_B -p 5300 www.td.test
	export -f asks
	check "dnsmasq: 20 queries, its answers are right" by_tandem 20 in_ns "$NS_A" bash -c "
		for i in \$(seq 20); do asks $IP_B 5300 || exit 1; done"
	check "dnsmasq: over TCP, too" in_a bash -c "asks $IP_B 5300 +tcp"
	check "dnsmasq ends on SIGTERM" stop "$server"
	start_a dnsmasq $(dnsmasq_conf $IP_A 53) >/dev/null 2>&1
	start_b dnsmasq $(dnsmasq_conf 127.0.0.1 53) >/dev/null 2>&1
	wait_for 10 in_a dig +short +tries=1 +time=1 @$IP_A www.td.test
	check "dig on tandem: a server beyond the interface" by_tandem 1 in_b bash -c "
		[ \$($run dig +short @$IP_A www.td.test) = 10.9.8.7 ]"
	check "dig on tandem: a server on loopback" in_b bash -c "
		[ \$($run dig +short @127.0.0.1 www.td.test) = 10.9.8.7 ]"
	# getaddrinfo() by a resolver on loopback, then one on tandem's network.
	for ns in 127.0.0.1 $IP_A; do
		echo "nameserver $ns" >"$TMP/resolv.conf"
		check "getaddrinfo() on tandem, resolver at $ns" in_b unshare -m bash -c "
			mount --bind $TMP/resolv.conf /etc/resolv.conf &&
			$run python3 -c 'import socket
assert socket.getaddrinfo(\"www.td.test\", 80, socket.AF_INET)[0][4][0] == \"10.9.8.7\"'"
	done
fi

# Threads with a socket each, by SO_REUSEPORT; then one socket on :: for both families, whose answers
# leave from the address that was asked (IPV6_PKTINFO).
unbound_conf() {
	cat <<-END
		server:
		  port: $1
		  $2
		  interface: ::0
		  access-control: 0.0.0.0/0 allow
		  access-control: ::0/0 allow
		  num-threads: 2
		  username: ""
		  chroot: ""
		  pidfile: ""
		  directory: "$TMP"
		  do-daemonize: no
		  use-syslog: no
		  local-zone: "td.test." static
		  local-data: "www.td.test. A 10.9.8.7"
		remote-control:
		  control-enable: no
	END
}
if have unbound && have dig; then
	export -f asks
	port=5310
	for way in "interface: 0.0.0.0" "interface-automatic: yes"; do
		unbound_conf $port "$way" >"$TMP/unbound.conf"
		start_b $run unbound -c "$TMP/unbound.conf" >"$TMP/unbound" 2>&1
		server=$PID
		check "unbound, $way: serves dig" wait_for 20 in_a dig +short +tries=1 +time=1 @$IP_B -p $port www.td.test
		check "20 queries over IPv4, by tandem" by_tandem 20 in_ns "$NS_A" bash -c "
			for i in \$(seq 20); do asks $IP_B $port || exit 1; done"
		check "and IPv6, by the kernel" in_b bash -c "asks ::1 $port"
		check "unbound ends on SIGTERM" stop "$server"
		port=$((port + 1))
	done
fi

if have iperf3; then
	start_b $run iperf3 -s -4 -p 5201 >"$TMP/iperf" 2>&1
	server=$PID
	wait_for 10 listens 5201
	for dir in "" -R; do
		check "iperf3 -u: server on tandem (${dir:-up})" in_a timeout 30 \
			iperf3 -u -b 100M -t 1 -c $IP_B -p 5201 $dir
	done
	stop "$server"
	start_a iperf3 -s -4 -p 5202 >/dev/null 2>&1
	wait_for 10 in_a sh -c "ss -ltn | grep -q :5202"
	for dir in "" -R; do
		check "iperf3 -u: client on tandem (${dir:-up})" by_tandem 1 in_b timeout 30 \
			$run iperf3 -u -b 100M -t 1 -c $IP_A -p 5202 $dir
	done
fi

if have memcached; then
	start_b $run memcached -u root -l $IP_B -p 11311 -U 11311 -t 2 >/dev/null 2>&1
	check "memcached over UDP" wait_for 10 in_a python3 -c "
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(1); s.connect(('$IP_B', 11311))
def ask(text):
    s.send(b'\0\1\0\0\0\1\0\0' + text); return s.recv(2000)[8:]
assert ask(b'set k 0 0 3\r\nabc\r\n') == b'STORED\r\n'
assert ask(b'get k\r\n') == b'VALUE k 0 3\r\nabc\r\nEND\r\n'"
	stop "$PID"
fi

# ---- without tandem they go on ----

start_echo 5010 six
six=$PID
start_echo 5004
server=$PID
check "detach" detach
check "a server goes on by the kernel's socket" in_a python3 "$TMP/rounds.py" $IP_B 5004 50 1000
check "and so does one on ::" in_a python3 "$TMP/rounds.py" $IP_B 5010 50 1000
check "and ends on SIGTERM" stop "$server"
check "the other, too" stop "$six"

# ---- all ports of the address are tandem's ----

attach --claim all || die "attach"
start_echo 5011 six
check "claim all: a server on :: has IPv4 from tandem alone" by_tandem 50 in_a python3 "$TMP/rounds.py" $IP_B 5011 50 1000
stop "$PID"
check "detach" detach
