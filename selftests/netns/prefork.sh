#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# A listener that is inherited by fork, and used by one process alone: that one shakes hands itself,
# whoever else has it. What becomes of connections when another process begins to use it, when the one
# ends, and when a master exchanges its worker.
#
#   $NS_A  eth0 10.77.0.1/24 ──── veth ──── eth0 10.77.0.2/24  $NS_B
#          kernel's sockets                 tandem run -- servers in Python, nginx

. "$(dirname "$0")/../lib.sh"
. "$(dirname "$0")/../who.sh"
setup

# Who answers SYNs of a port: as the daemon says, and as the XDP program does by its map. "0": the daemon.
front() { status | jq -r "[.listeners[] | select(.port == $1 and .answers_syns) | .slot] | join(\" \")"; }
port_entry() { # PORT: the slot in struct port_val of struct port_key
	# shellcheck disable=SC2046 # so many bytes
	bpftool map lookup pinned "/sys/fs/bpf/tandem/$TD/ports" key hex $(printf '00 %.0s' {1..16}) \
		$(printf '%04x' "$1" | sed 's/../& /g') 06 00 -j | jq .formatted.value.slot
}
slot_of() { status | jq -r ".applications[] | select(.pid == $1) | .slot"; }
front_is() { # PORT PID; PID "": nobody's, so the daemon's
	local slot=
	[ -z "$2" ] || slot=$(slot_of "$2")
	echo "says $(front "$1"), entry $(port_entry "$1"), should be $slot"
	[ "$(front "$1")" = "$slot" ] && [ "$(port_entry "$1")" = "${slot:-0}" ]
}
handed() { status | jq "[.listeners[] | select(.port == $1) | .handed_over] | add"; }

# ---- processes that say when they do what ----

cat >"$TMP/server.py" <<'END'
# server.py PORT: a process for each line on the input: "fork NAME", a child. "NAME serve": it accepts
# and echoes from then on. "NAME close": it closes the listener. "." is the first one's name.
import os, signal, socket, sys, threading
def echo(c, name):
    try:
        c.sendall(name)
        while b := c.recv(1000):
            c.sendall(b)
    except OSError:
        pass
    c.close()
def serve(s, name):
    try:
        while True:
            c, _ = s.accept()
            threading.Thread(target=echo, args=(c, name), daemon=True).start()
    except OSError:
        pass
def obey(s, name, word):
    if word == "serve":
        threading.Thread(target=serve, args=(s, name.encode()), daemon=True).start()
    elif word == "close":
        os.close(s.detach())
    print(name, word, os.getpid(), flush=True)
def child(s, name, r):
    for line in os.fdopen(r):
        obey(s, name, line.strip())
    os._exit(0)
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("", int(sys.argv[1])))
s.listen(128)
print(". listens", os.getpid(), flush=True)
pipes = {}
for line in sys.stdin:
    name, word = line.split()
    if name == "fork":
        r, w = os.pipe()
        pid = os.fork()
        if not pid:
            os.close(w)
            child(s, word, r)
        os.close(r)
        pipes[word] = w
        print(word, "is", pid, flush=True)
    elif name == ".":
        obey(s, "P", word)
    else:
        os.write(pipes[name], (word + "\n").encode())
END
cat >"$TMP/peer.py" <<'END'
# peer.py MAC PORT: a host of its own, 10.77.0.9, made of frames: a whole handshake, after which the way back
# is known, then one whose last ACK waits for a line on the input. Prints "half", then what the server says
# first, or "reset".
import socket, struct, sys
mac, port = bytes.fromhex(sys.argv[1].replace(":", "")), int(sys.argv[2])
me, server = socket.inet_aton("10.77.0.9"), socket.inet_aton("10.77.0.2")
raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
raw.bind(("eth0", 0))
raw.settimeout(20)
own = raw.getsockname()[4]
SYN, RST, ACK = 2, 4, 16
def csum(b):
    n = sum(struct.unpack("!%dH" % (len(b) // 2), b))
    n = (n & 0xffff) + (n >> 16)
    return ~(n + (n >> 16)) & 0xffff
def send(sport, seq, ack, flags):
    tcp = struct.pack("!HHIIBBHHH", sport, port, seq, ack, 5 << 4, flags, 65535, 0, 0)
    pseudo = me + server + struct.pack("!HH", 6, len(tcp))
    tcp = tcp[:16] + struct.pack("!H", csum(pseudo + tcp)) + tcp[18:]
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0, 64, 6, 0) + me + server
    ip = ip[:10] + struct.pack("!H", csum(ip)) + ip[12:]
    raw.send(mac + own + b"\x08\x00" + ip + tcp)
def arp(b): # who has us?
    if b[20:22] == b"\0\1" and b[38:42] == me:
        raw.send(b[6:12] + own + b"\x08\x06" + b[14:20] + b"\0\2" + own + me + b[22:32])
def receive(sport):
    while True:
        b = raw.recv(2000)
        if b[12:14] == b"\x08\x06":
            arp(b)
        elif b[12:14] == b"\x08\0" and b[30:34] == me and b[36:38] == struct.pack("!H", sport):
            seq, ack, off, flags = struct.unpack("!IIBB", b[38:48])
            end = 14 + struct.unpack("!H", b[16:18])[0]
            return seq, ack, flags, b[34 + (off >> 4) * 4:end]
def handshake(sport, wait):
    send(sport, 1000, 0, SYN)
    seq, ack, flags, _ = receive(sport)
    assert flags == SYN | ACK and ack == 1001, flags
    if wait:
        print("half", flush=True)
        sys.stdin.readline()
    send(sport, 1001, seq + 1, ACK)
    while True:
        n, ack, flags, text = receive(sport)
        if text or flags & RST:
            break # not the SYN-ACK again
    send(sport, 1001, n + len(text), RST | ACK)
    return "reset" if flags & RST else text.decode()
handshake(20000, False)
print(handshake(20001, True), flush=True)
END
server() { # PORT
	rm -f "$TMP/in"
	mkfifo "$TMP/in"
	exec 9<>"$TMP/in"
	rm -f "$TMP/in3"
	mkfifo "$TMP/in3"
	exec 6<>"$TMP/in3"
	start_b "$TANDEM" run --on "$TD" -- python3 "$TMP/server.py" "$1" >"$TMP/server" 2>&1 <&9
	SERVER=$PID
	wait_for 20 grep -q listens "$TMP/server"
}
said() { grep -qE "^$1" "$TMP/server"; }
child() { # NAME: its process id in $CHILD
	echo "fork $1" >&9
	wait_for 20 said "$1 is " || return 1
	CHILD=$(sed -n "s/^$1 is //p" "$TMP/server")
}
tell() { # NAME WORD
	echo "$1 $2" >&9
	wait_for 20 said "${1/./P} $2"
}
half() { # PORT: a connection is half-open, and not with the daemon
	start_a timeout 60 python3 "$TMP/peer.py" "$MAC_B" "$1" >"$TMP/half" 2>&1 <&6
	HALF=$PID
	wait_for 20 grep -q half "$TMP/half" && half_open_here 0
}
half_open_here() { status_is ".slow_path.half_open == $1"; }
third_ack() { # NAME: the connection is complete, and served by this one
	echo >&6
	wait "$HALF" && [ "$(tail -1 "$TMP/half")" = "$1" ] || { cat "$TMP/half"; return 1; }
}

attach || die "attach"
MAC_B=$(ip -n "$NS_B" -j link show eth0 | jq -r '.[0].address')

check "a server" server 7001
check "alone it answers SYNs itself" wait_for 5 front_is 7001 "$SERVER"
check "it forks" child A
a=$CHILD
check "nobody uses it: SYNs are the daemon's" wait_for 5 front_is 7001 ""
check "the child accepts" tell A serve
check "and has the port alone" wait_for 5 front_is 7001 "$a"
check "a first connection, after which the way back is known" client 7001 1
n=$(handed 7001) slow=$(xdp port_slow)
check "200 connections" client 7001 200
check "all are the child's" served '. == {A: 200}'
check "next to none of their packets went to the daemon" [ $(($(xdp port_slow) - slow)) -le 10 ]
check "which handed none over" [ $(($(handed 7001) - n)) -le 5 ]

# ---- a second process, and none ----

check "load" load 7001 16
check "that goes on" meanwhile
check "a second child" child B
b=$CHILD
check "accepts, too" tell B serve
check "SYNs are the daemon's" wait_for 5 front_is 7001 ""
check "under load" meanwhile 1500
check "the first one closes" tell A close
check "SYNs are the second one's" wait_for 5 front_is 7001 "$b"
check "under load" meanwhile 1500
load_ends
check "no connection fails" served '.failed == null and .A > 0 and .B > 0'
check "100 connections" client 7001 100
check "are the second one's" served '. == {B: 100}'

check "a connection is half-open there" half 7001
kill -9 "$b"
check "it is killed: SYNs are the daemon's" wait_for 5 front_is 7001 ""
check "and so is what was half-open" half_open_here 1
start_a timeout 60 python3 "$CLIENT" 7001 1 >"$TMP/later" 2>"$TMP/err"
later=$PID
sleep 0.3
check "a connection waits" alive "$later"
check "the first process accepts" tell . serve
check "and has the port again" wait_for 5 front_is 7001 "$SERVER"
check "the connection, too" wait "$later"
check "which is served" grep -q '{"P": 1}' "$TMP/later"
check "the one that was half-open, too" third_ack P
check "a server that forks and goes on accepting" child C
check "keeps the port" wait_for 5 front_is 7001 "$SERVER"
check "100 connections" client 7001 100
check "are its own" served '. == {P: 100}'
check "a connection is half-open there" half 7001
check "it closes the listener, which its child has" tell . close
check "the daemon has what was half-open" half_open_here 1
check "the child accepts" tell C serve
check "and has it" third_ack C
check "it ends" stop "$SERVER"
exec 9>&-

# ---- nginx: a master, and a worker that it exchanges ----

root=$TMP/root
mkdir "$root"
random_file "$root/big" 8
head -c 1000 "$root/big" >"$root/small"
chmod -R a+rX "$TMP"
conf() { # WORKERS PORT LISTEN-OPTIONS
	cat >"$TMP/ng.conf" <<-END
		daemon off;
		pid $TMP/ng.pid;
		error_log $TMP/ng.log info;
		worker_processes $1;
		user nobody nogroup;
		events { worker_connections 4096; }
		http {
			access_log off;
			keepalive_requests 1000000;
			server { listen $2 ${3:-}; root $root; }
		}
	END
}
apps_are() { status_is "[.applications[] | select(.comm == \"nginx\")] | length == $1"; }
nginx_starts() { # WORKERS PORT LISTEN-OPTIONS
	conf "$@"
	start_b "$TANDEM" run --on "$TD" -- nginx -e "$TMP/ng.log" -c "$TMP/ng.conf" >"$TMP/ng.out" 2>&1
	NGINX=$PID
	wait_for 20 apps_are $(($1 + 1))
}
nginx_signal() { in_b "$TANDEM" run --on "$TD" -- nginx -e "$TMP/ng.log" -c "$TMP/ng.conf" -s "$1"; }
worker() { pgrep -P "$(cat "$TMP/ng.pid")"; }
worker_has_port() { # no other process is left, either
	local w
	w=$(worker)
	echo "$w"
	[ "$(wc -w <<<"$w")" = 1 ] && front_is 80 "$w"
}
two_workers_have() { # PORT
	local slots='' w
	for w in $(worker); do slots+="$(slot_of "$w") "; done
	echo "answer SYNs: $(front "$1"), should: $slots"
	[ "$(wc -w <<<"$slots")" = 2 ] && [ "$(front "$1" | xargs -n 1 | sort)" = "$(xargs -n 1 <<<"$slots" | sort)" ]
}
requests() { # N [PORT], each on a connection of its own
	local out
	out=$(in_a curl -sS --max-time 60 -o /dev/null -w '%{http_code}\n' -H 'Connection: close' \
		"http://$IP_B:${2:-80}/small?[1-$1]")
	[ "$(grep -c '^200$' <<<"$out")" = "$1" ]
}
any_alive() { local p; for p in "$@"; do ! alive "$p" || return 0; done; return 1; }
reload() { # COMMAND that says that the new ones are ready
	local old
	old=$(worker)
	# shellcheck disable=SC2086 # several
	nginx_signal reload && wait_for 20 not any_alive $old && wait_for 20 "$@"
}
reloads_under_load() { # PORT COMMAND
	local wrk i
	command -v wrk >/dev/null || { skip "wrk: not installed"; return; }
	start_a wrk -t 1 -c 64 -d 120 -H 'Connection: close' "http://$IP_B:$1/small" >"$TMP/wrk"
	wrk=$PID
	check "load" meanwhile
	for i in 1 2 3; do
		check "nginx -s reload, $i" reload "${@:2}"
		check "under load" meanwhile 2000
	done
	check "the load lasts" alive "$wrk"
	kill -INT "$wrk"
	wait "$wrk"
	check "no request failed" sh -c "cat '$TMP/wrk'; ! grep -qE 'Socket errors|Non-2xx' '$TMP/wrk' && grep -q '^Requests/sec' '$TMP/wrk'"
}
if command -v nginx >/dev/null; then
	check "nginx with one worker" nginx_starts 1 80
	check "the worker has the port" wait_for 10 worker_has_port
	check "a first request" requests 1
	n=$(handed 80) slow=$(xdp port_slow)
	check "500 requests" requests 500
	check "next to none of their packets went to the daemon" [ $(($(xdp port_slow) - slow)) -le 10 ]
	check "which handed none over" [ $(($(handed 80) - n)) -le 5 ]
	reloads_under_load 80 worker_has_port
	check "the worker is killed" kill -9 "$(worker)"
	check "another one has the port" wait_for 10 worker_has_port
	check "100 requests" requests 100
	check "nginx -s quit" nginx_signal quit
	check "nginx ends" wait_for 10 not alive "$NGINX"

	# On a port of which the daemon has no pairs in TIME_WAIT: these are its own at first.
	check "nginx with two workers, each with a socket" nginx_starts 2 81 reuseport
	check "both answer SYNs" wait_for 10 two_workers_have 81
	check "a first request" requests 1 81
	n=$(handed 81)
	check "200 requests" requests 200 81
	check "the daemon handed none over" [ $(($(handed 81) - n)) -le 5 ]
	check "it ends" stop "$NGINX"

	check "nginx with two workers that have one socket" nginx_starts 2 82
	check "both answer SYNs" wait_for 10 two_workers_have 82
	check "a first request" requests 1 82
	n=$(handed 82)
	check "200 requests" requests 200 82
	check "the daemon handed none over" [ $(($(handed 82) - n)) -le 5 ]
	reloads_under_load 82 two_workers_have 82
	check "it ends" stop "$NGINX"
else
	skip "nginx: not installed"
fi
check "no live flow is left" wait_for 20 flows_live 0
check "detach" detach
