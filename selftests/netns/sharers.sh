#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Several processes that accept from one socket, which they have inherited, and wait for it by epoll: each
# shakes hands itself. What becomes of connections when one of them comes, is killed, is busy for
# long, is stopped, or waits in accept().
#
#   $NS_A  eth0 10.77.0.1/24 ──── veth ──── eth0 10.77.0.2/24  $NS_B
#          clients of the kernel                tandem ─► a server in Python, and its children

. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../who.sh"
setup

cat >"$TMP/server.py" <<'END'
# server.py PORT: a child for each line on the input, its name: it echoes, and says who it is first. At SIGUSR1
# it does nothing for three seconds; a name of lower case waits in accept(); X gets the socket over exec.
import asyncio, os, signal, socket, sys, time
async def echo(name, r, w):
    w.write(name)
    try:
        while b := await r.read(1000):
            w.write(b)
    except OSError:
        pass
    w.close()
async def serve(name, s):
    server = await asyncio.start_server(lambda r, w: echo(name, r, w), sock=s)
    print(name.decode(), "serves", flush=True)
    await server.serve_forever()
def child(name):
    signal.signal(signal.SIGUSR1, lambda *_: time.sleep(3))
    if name.isupper():
        asyncio.run(serve(name, s))
    s.setblocking(True)
    print(name.decode(), "serves", flush=True)
    while True:
        c, _ = s.accept()
        c.sendall(name)
        while b := c.recv(1000):
            c.sendall(b)
        c.close()
if len(sys.argv) == 3:
    s = socket.socket(fileno=int(sys.argv[1]))
    child(sys.argv[2].encode())
s = socket.create_server(("", int(sys.argv[1])), backlog=128)
for line in sys.stdin:
    pid = os.fork()
    if not pid:
        try:
            if line.strip() == "X":
                s.set_inheritable(True)
                os.execvp(sys.executable, [sys.executable, sys.argv[0], str(s.fileno()), "X"])
            child(line.strip().encode())
        finally:
            os._exit(0)
    print(line.strip(), "is", pid, flush=True)
END
said() { grep -qE "^$1" "$TMP/server"; }
child() { # NAME: its process id in $pid_NAME
	echo "$1" >&9
	wait_for 20 said "$1 serves" || { cat "$TMP/server"; return 1; }
	eval "pid_$1=$(sed -n "s/^$1 is //p" "$TMP/server")"
}
# Processes whose stack answers SYNs, as the daemon says.
front() { status | jq -c "[[.listeners[] | select(.port == 7001 and .answers_syns) | .slot] as \$s |
	.applications[] | select(.slot | IN(\$s[])) | .pid] | sort"; }
front_is() { # PID...
	local want
	want=$(jq -nc '[$ARGS.positional[] | tonumber] | sort' --args "$@")
	echo "answer SYNs: $(front), should be $want"
	[ "$(front)" = "$want" ]
}
handed() { status | jq "[.listeners[].handed_over] | add"; }

attach || die "attach"
mkfifo "$TMP/in"
exec 9<>"$TMP/in"
start_b "$TANDEM" run --on "$TD" -- python3 "$TMP/server.py" 7001 >"$TMP/server" 2>&1 <&9
SERVER=$PID
check "a server" wait_for 20 listens 7001

# ---- each has its part ----
check "a child" child A
check "has the port alone" wait_for 5 front_is "$pid_A"
check "a first connection, after which the way back is known" client 7001 1
check "a second child" child B
check "answers SYNs, too" wait_for 5 front_is "$pid_A" "$pid_B"
check "a third one" child C
check "as well" wait_for 5 front_is "$pid_A" "$pid_B" "$pid_C"
n=$(handed) slow=$(xdp port_slow)
check "300 connections" client 7001 300
check "each gets a third of them" served '.failed == null and .A > 50 and .B > 50 and .C > 50'
check "next to none of their packets went to the daemon" [ $(($(xdp port_slow) - slow)) -le 10 ]
check "which handed none over" [ $(($(handed) - n)) -le 5 ]

# ---- one comes, one is killed ----
check "load" load 7001 16
check "that goes on" meanwhile
check "a fourth child" child D
check "under load" meanwhile 1500
load_ends
check "no connection fails" served '.failed == null and .D > 0'
check "load" load 7001 16
check "that goes on" meanwhile
kill -9 "$pid_D"
check "a child is killed under load" meanwhile 1500
load_ends
check "only what it had in hand fails" served '(.failed // 0) <= 16 and .A > 0 and .B > 0 and .C > 0'
check "the others go on" wait_for 5 front_is "$pid_A" "$pid_B" "$pid_C"

# ---- one is busy for long ----
kill -USR1 "$pid_A"
check "50 connections, while one does nothing" client 7001 50
check "are for those that are not busy" served '.A == null and .B + .C == 50'
check "for some time the daemon chooses" front_is
check "load" load 7001 16
check "after which each has its part again" wait_for 20 front_is "$pid_A" "$pid_B" "$pid_C"
load_ends
check "no connection fails" served '.failed == null'

# ---- one is stopped ----
kill -STOP "$pid_B"
check "one is stopped, and gets no more SYNs" wait_for 5 front_is "$pid_A" "$pid_C"
check "50 connections" client 7001 50
check "are for the others" served '.B == null and .A + .C == 50'
kill -CONT "$pid_B"
check "it continues" wait_for 5 front_is "$pid_A" "$pid_B" "$pid_C"
check "100 connections" client 7001 100
check "are for all" served '.failed == null and .A > 10 and .B > 10 and .C > 10'

# ---- one that waits in accept() is busy with each connection ----
check "a child that waits in accept()" child d
check "SYNs are the daemon's" wait_for 5 front_is
check "load" load 7001 16
check "that goes on" meanwhile 1500
load_ends
check "all have some" served '.failed == null and .A > 0 and .B > 0 and .C > 0 and .d > 0'
kill -9 "$pid_d"
check "it is killed: they are the others' again" wait_for 5 front_is "$pid_A" "$pid_B" "$pid_C"

# ---- one that has got the socket over exec ----
check "a child behind exec" child X
check "has its part, too" wait_for 5 front_is "$pid_A" "$pid_B" "$pid_C" "$pid_X"
check "200 connections" client 7001 200
check "are for all" served '.failed == null and .A > 20 and .B > 20 and .C > 20 and .X > 20'

kill -9 "$pid_A" "$pid_B" "$pid_C" "$pid_X"
check "the server ends" stop "$SERVER"
check "no live flow is left" wait_for 20 flows_live 0
check "detach" detach
