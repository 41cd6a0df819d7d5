#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Servers under `tandem run` are reached by ways that are not tandem's, too, as they are without it: from the
# same host, where lo is not attached, over another interface, and while there is no daemon.
#
#   $NS_A  eth0 10.77.0.1/24 ──── veth ──── eth0 10.77.0.2/24  $NS_B
#          eth1 10.78.0.1/24 ──── veth ──── eth1 10.78.0.2/24     tandem on eth0 alone
#                                           lo   127.0.0.1/8      servers, clients of the kernel

. "$(dirname "$0")/../lib.sh"
setup
ip -n "$NS_A" link add eth1 type veth peer name eth1 netns "$NS_B" || die "no second veth pair"
ip -n "$NS_A" addr add 10.78.0.1/24 dev eth1
ip -n "$NS_B" addr add 10.78.0.2/24 dev eth1
ip -n "$NS_A" link set eth1 up
ip -n "$NS_B" link set eth1 up
in_b sysctl -qw net.ipv6.conf.lo.disable_ipv6=0
ip -n "$NS_B" addr replace ::1/128 dev lo
wait_for 5 in_a ping -q -c 1 -W 1 10.78.0.2 || die "the second pair does not carry packets"

cat >"$TMP/server.py" <<'END'
# server.py HOW PORT: echoes, and says first by which address it was reached; closes first after "bye".
import asyncio, select, socket, sys, threading
how, port = sys.argv[1], int(sys.argv[2])
def one(c):
    c.setblocking(True)
    c.sendall(c.getsockname()[0].removeprefix("::ffff:").encode() + b"\n")
    while (b := c.recv(65536)) and b != b"bye":
        c.sendall(b)
    c.close()
def serve(s, wait):
    while True:
        wait()
        try:
            c, _ = s.accept()
        except BlockingIOError:
            continue
        threading.Thread(target=one, args=(c,), daemon=True).start()
async def echo(r, w):
    w.write(w.get_extra_info("sockname")[0].encode() + b"\n")
    while (b := await r.read(65536)) and b != b"bye":
        w.write(b)
    w.close()
async def events():
    await (await asyncio.start_server(echo, "0.0.0.0", port)).serve_forever()
if how == "events":
    asyncio.run(events())
s = socket.create_server(("" if how != "six" else "::", port), family=socket.AF_INET if how != "six" else socket.AF_INET6,
                         dualstack_ipv6=how == "six", backlog=64)
s.setblocking(how in ("accept", "six"))
if how == "poll":
    p = select.poll()
    p.register(s, select.POLLIN)
    serve(s, p.poll)
elif how == "select":
    serve(s, lambda: select.select([s], [], []))
elif how == "epoll":
    p = select.epoll()
    p.register(s, select.EPOLLIN | select.EPOLLET)
    def burst():
        p.poll()
        while True:
            try:
                c, _ = s.accept()
            except BlockingIOError:
                return
            threading.Thread(target=one, args=(c,), daemon=True).start()
    serve(s, burst)
else:
    serve(s, lambda: None)
END
cat >"$TMP/client.py" <<'END'
# client.py ADDRESS PORT [N] [bye]: N connections at the same time; 1 MB there and back on each.
import os, socket, sys, threading
host, port, n = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 1
good = []
def one():
    with socket.create_connection((host, port), 10) as s:
        s.settimeout(10)
        f = s.makefile("rb")
        name = f.readline().decode().strip()
        d = os.urandom(1000000)
        threading.Thread(target=s.sendall, args=(d,), daemon=True).start()
        if name == host and f.read(len(d)) == d:
            if sys.argv[-1] == "bye":
                s.sendall(b"bye")
                assert f.read() == b""
            good.append(1)
ts = [threading.Thread(target=one) for _ in range(n)]
for t in ts:
    t.start()
for t in ts:
    t.join()
sys.exit(len(good) != n)
END
serve() { # HOW PORT
	start_b "$TANDEM" run --on "$TD" -- python3 "$TMP/server.py" "$1" "$2" >"$TMP/server.$1" 2>&1
	SERVER=$PID
	wait_for 20 listens "$2" || { cat "$TMP/server.$1"; return 1; }
}
client=(timeout 60 python3 "$TMP/client.py")
direct() { echo $(($(xdp port_direct) + $(xdp flow_direct))); }
by_tandem() { # COMMAND...: its packets are tandem's
	local n
	n=$(direct)
	"$@" && [ $(($(direct) - n)) -gt 20 ]
}
by_kernel() {
	local n
	n=$(direct)
	"$@" && [ $(($(direct) - n)) -le 4 ]
}
refused() { "$@" 2>&1 | grep -q ConnectionRefused; }

attach || die "attach"
port=7000
for how in accept poll select epoll events; do
	port=$((port + 1))
	check "$how: a server" serve $how $port
	check "$how: over tandem's interface" by_tandem in_a "${client[@]}" $IP_B $port
	check "$how: at 127.0.0.1" by_kernel in_b "${client[@]}" 127.0.0.1 $port
	check "$how: at the interface's address, on this host" by_kernel in_b "${client[@]}" $IP_B $port
	check "$how: over another interface" by_kernel in_a "${client[@]}" 10.78.0.2 $port
	check "$how: 20 at once, over tandem's" in_a "${client[@]}" $IP_B $port 20
	check "$how: 20 at once, on this host" in_b "${client[@]}" 127.0.0.1 $port 20
	check "$how: connections that it closes first" in_b "${client[@]}" 127.0.0.1 $port 5 bye
	check "$how: it ends" stop "$SERVER"
	check "$how: refused, on this host" refused in_b "${client[@]}" 127.0.0.1 $port
	check "$how: it starts again at once, with pairs in TIME_WAIT" serve $how $port
	check "$how: and is reached" in_b "${client[@]}" 127.0.0.1 $port
	check "$how: by both ways" by_tandem in_a "${client[@]}" $IP_B $port
	check "$how: it ends again" stop "$SERVER"
done

# ---- IPv6 besides ----
check "a server on ::" serve six 7010
check "over tandem's interface" by_tandem in_a "${client[@]}" $IP_B 7010
check "at 127.0.0.1" by_kernel in_b "${client[@]}" 127.0.0.1 7010
check "at ::1" by_kernel in_b "${client[@]}" ::1 7010
check "over another interface" by_kernel in_a "${client[@]}" 10.78.0.2 7010
check "it ends" stop "$SERVER"

# ---- no conflict, and conflicts ----
check "a server" serve events 7011
check "the kernel's socket beside it is no conflict" status_is '.warnings == []'
bind_fails() { in_b python3 -c "
import socket
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(('', $1))
s.listen()" 2>&1 | grep -q 'already in use'; }
check "the kernel's programs cannot have its port" bind_fails 7011

# ---- without a daemon, and with the next one ----
daemon=$(daemons)
kill -9 "$daemon"
wait_for 10 not alive "$daemon"
check "the daemon is killed: still reached on this host" in_b "${client[@]}" 127.0.0.1 7011
attach || die "attach again"
check "with the next one it listens again" wait_for 20 listens 7011
check "is reached over tandem's interface" by_tandem in_a "${client[@]}" $IP_B 7011
check "and on this host" by_kernel in_b "${client[@]}" 127.0.0.1 7011
check "detach" detach
check "the kernel serves it alone" in_a "${client[@]}" $IP_B 7011
check "on this host, too" in_b "${client[@]}" 127.0.0.1 7011
attach || die "attach once more"
check "attached again, it is tandem's" wait_for 20 listens 7011
check "over its interface" by_tandem in_a "${client[@]}" $IP_B 7011
check "it ends" stop "$SERVER"
check "refused, on this host" refused in_b "${client[@]}" 127.0.0.1 7011

# ---- processes ----
if command -v nginx >/dev/null; then
	root=$TMP/root
	mkdir "$root"
	head -c 1000 /dev/urandom >"$root/small"
	chmod -R a+rX "$TMP"
	cat >"$TMP/ng.conf" <<-END
		daemon off;
		pid $TMP/ng.pid;
		error_log $TMP/ng.log warn;
		worker_processes 2;
		events { worker_connections 1024; }
		http { access_log off; server { listen 80; root $root; } }
	END
	start_b "$TANDEM" run --on "$TD" -- nginx -e "$TMP/ng.log" -c "$TMP/ng.conf" >"$TMP/ng.out" 2>&1
	nginx=$PID
	check "nginx with workers" wait_for 20 listens 80
	requests() { # HOST
		[ "$("${@:2}" curl -sS --max-time 30 -o /dev/null -w '%{http_code}\n' -H 'Connection: close' \
			"http://$1/small?[1-100]" | grep -c '^200$')" = 100 ]
	}
	check "100 requests over tandem's interface" by_tandem requests $IP_B in_a
	check "at 127.0.0.1" by_kernel requests 127.0.0.1 in_b
	nginx_signal() { in_b "$TANDEM" run --on "$TD" -- nginx -e "$TMP/ng.log" -c "$TMP/ng.conf" -s "$1"; }
	workers() { pgrep -P "$(cat "$TMP/ng.pid")" | sort | tr '\n' ' '; }
	old=$(workers)
	new_workers() { [ "$(workers | wc -w)" = 2 ] && [ "$(workers)" != "$old" ]; }
	check "nginx -s reload" nginx_signal reload
	check "has new workers" wait_for 20 new_workers
	check "100 requests at 127.0.0.1" by_kernel requests 127.0.0.1 in_b
	check "and over tandem's interface" by_tandem requests $IP_B in_a
	check "nginx ends" stop "$nginx"
	check "refused, on this host" refused in_b "${client[@]}" 127.0.0.1 80
else
	skip "nginx: not installed"
fi
# One of two processes closes the listener, and leaves it in its epoll instance: as far as it goes, it is gone.
cat >"$TMP/leaves.py" <<'END'
import os, select, socket, sys
l = socket.create_server(("", 7013))
r, w = os.pipe()
if not os.fork():
    os.read(r, 1)
    while True:
        c, _ = l.accept()
        c.sendall(c.getsockname()[0].encode() + b"\n")
        while b := c.recv(65536):
            c.sendall(b)
p = select.epoll()
p.register(l, select.EPOLLIN)
p.poll(0)
l.close()
print("closed", flush=True)
sys.stdin.readline()
print("events", len(p.poll(0)), flush=True)
os.write(w, b".")
sys.stdin.readline()
END
mkfifo "$TMP/in"
exec 9<>"$TMP/in"
start_b setsid "$TANDEM" run --on "$TD" -- python3 "$TMP/leaves.py" >"$TMP/leaves" 2>&1 <&9
leaves=$PID
check "one of two processes closes the listener" wait_for 20 grep -q closed "$TMP/leaves"
start_b "${client[@]}" 127.0.0.1 7013
client_pid=$PID
waits() { [ "$(in_b ss -Hltn 'sport = :7013' | awk '{ print $2 }')" = 1 ]; }
check "somebody on this host connects, whom nobody accepts yet" wait_for 10 waits
echo >&9
check "the first one does not see it" wait_for 10 grep -q '^events 0' "$TMP/leaves"
check "the other one serves it" wait "$client_pid"
kill -- "-$leaves"
wait "$leaves" 2>/dev/null
cat >"$TMP/activate.py" <<'END'
import os, socket, sys
s = socket.create_server(("", 7012))
s.set_inheritable(True)
os.dup2(s.fileno(), 3)
os.execvp(sys.executable, [sys.executable, "-c", """
import socket
s = socket.socket(fileno=3)
while True:
    c, _ = s.accept()
    c.sendall(c.getsockname()[0].encode() + b"\\n")
    while b := c.recv(65536):
        c.sendall(b)
"""])
END
start_b "$TANDEM" run --on "$TD" -- python3 "$TMP/activate.py" >"$TMP/activate" 2>&1
activated=$PID
check "a listener over exec" wait_for 20 listens 7012
check "is reached over tandem's interface" by_tandem in_a "${client[@]}" $IP_B 7012
check "and on this host" by_kernel in_b "${client[@]}" 127.0.0.1 7012
check "it ends" stop "$activated"
check "no live flow is left" wait_for 20 flows_live 0
check "detach" detach
