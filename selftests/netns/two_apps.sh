#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Two applications on one interface at once, and a service on the kernel's sockets on the same
# address that notices nothing: before, during and after.
#
#   $NS_A  eth0 10.77.0.1/24 ──── veth ──── eth0 10.77.0.2/24  $NS_B
#          curl, conns.py                   ├─ kernel ─► python socket server :22
#          one connection to :22 throughout └─ tandem ─► http_server :80, echo_server :7

. "$(dirname "$0")/../lib.sh"
setup
root=$TMP/root
mkdir "$root"
random_file "$root/mid" 20
head -c 1000 "$root/mid" >"$root/small"

# A line echo on the kernel's sockets, one thread for each connection, like a small sshd.
cat >"$TMP/kernel.py" <<'END'
import socketserver
class Echo(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(line)
class Server(socketserver.ThreadingTCPServer):
    daemon_threads = allow_reuse_address = True
with Server(("0.0.0.0", 22), Echo) as s:
    print("listening on 22", flush=True)
    s.serve_forever()
END
serve_on "$TMP/kernel" python3 "$TMP/kernel.py" || exit 1

# The connection that lives through everything; ask sends a line and expects it back.
mkfifo "$TMP/session.in"
start_a python3 -c "
import socket, sys
s = socket.create_connection(('$IP_B', 22)).makefile('rw')
for line in sys.stdin:
    s.write(line); s.flush()
    print(s.readline(), end='', flush=True)
" <>"$TMP/session.in" >"$TMP/session"
asked=0
ask() {
	asked=$((asked + 1))
	echo "line $asked" >"$TMP/session.in"
	wait_for 5 grep -qx "line $asked" "$TMP/session"
}
knock() { # a new connection to the kernel's service
	in_a python3 -c "
import socket
s = socket.create_connection(('$IP_B', 22), 5); s.sendall(b'x\n'); assert s.recv(2) == b'x\n'"
}
kernel_ok() {
	check "kernel service $1: the old connection" ask
	check "kernel service $1: a new connection" knock
}
get() { in_a curl -sS --max-time 60 "http://$IP_B/$1" | cmp - "$root/$1"; }
echo_mb() { # 4 MB through the echo server and back
	in_a python3 -c "
import os, socket, threading
s = socket.create_connection(('$IP_B', 7), 30); d = os.urandom(4 << 20)
t = threading.Thread(target=lambda: (s.sendall(d), s.shutdown(1))); t.start()
r = b''.join(iter(lambda: s.recv(1 << 16), b'')); t.join(); assert r == d"
}

kernel_ok "before attaching"
attach || die "attach"
kernel_ok "with tandem attached"
check "the kernel's listener is not claimed" [ "$(xdp pass_unclaimed)" -gt 0 ]
serve_on "$TMP/http" "$B/tools/http_server" --addr $IP_B --port 80 --root "$root" || exit 1
http=$PID
serve_on "$TMP/echo" "$B/tools/echo_server" --addr $IP_B --port 7 || exit 1
echo_pid=$PID
check "both are registered" status_is '.applications | length == 2'
check "a port of tandem's is not given twice" sh -c "
	! nsenter --net=/run/netns/$NS_B timeout 10 '$B/tools/http_server' --addr $IP_B --port 7 --root '$root'"
kernel_ok "with two applications"
check "application 1" get mid
check "application 2" echo_mb
check "100 connections to application 1" conns_open 100
for i in 1 2 3; do
	get mid & jobs_a=$!
	echo_mb & jobs_b=$!
	check "both at once, round $i: kernel service" ask
	check "both at once, round $i: application 1" wait $jobs_a
	check "both at once, round $i: application 2" wait $jobs_b
done
check "the 100 are undisturbed" conns_close
kernel_ok "after traffic on both"
stop "$http"
check "one ends, the other goes on" echo_mb
kernel_ok "after one has ended"
stop "$echo_pid"
check "no flow is left" wait_for 10 flows_are 0
check "status agrees" wait_for 10 status_is \
	'(.applications | length) == 0 and (.listeners | length) == 0'
check "detach" detach
kernel_ok "after detach"
