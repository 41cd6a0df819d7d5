#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Servers of several processes under `tandem run`: workers that share a listener, processes that take
# a connection from the one that accepted it, sockets over exec. Clients on the kernel's sockets.
#
#   $NS_A  eth0 10.77.0.1/24 ──── veth ──── eth0 10.77.0.2/24  $NS_B
#          kernel's sockets                 tandem run -- PROGRAM

. "$(dirname "$0")/../lib.sh"
setup
root=$TMP/root
mkdir "$root" "$TMP/work"
random_file "$root/big" "${BIG_MB:-1024}"
head -c 1000 "$root/big" >"$root/small"
# Workers give up root before they attach; each process needs packet memory of its own.
printf 'socket_mode = 0666\numem_frames = 131072\n' >"$TMP/tandem.conf"
attach --config "$TMP/tandem.conf" || die "attach"

# serve LOG PROGRAM...: a server in $NS_B on tandem; its process id in $PID.
serve() {
	local log=$1
	shift
	start_b "$TANDEM" run --on "$TD" -- "$@" >"$log" 2>&1
}
have() {
	command -v "$1" >/dev/null && return
	skip "$1: not installed"
	return 1
}
# The port has a listener, and it is of tandem's; so many applications that are called $1.
apps() { status_is "[.applications[] | select(.comm == \"$1\")] | length == $2"; }
nothing_left() { status_is '(.applications | length) == 0 and (.listeners | length) == 0'; }
ended() { check "$1 leaves nothing" wait_for 10 nothing_left; }

# ---- nginx: a master and two workers ----

cat >"$TMP/ng.conf" <<END
daemon off;
pid $TMP/ng.pid;
error_log $TMP/ng.log info;
worker_processes 2;
user nobody nogroup;
events { worker_connections 4096; }
http {
	access_log off;
	sendfile on;
	keepalive_requests 1000000;
	server { listen 80; root $root; }
}
END
chmod 755 "$TMP" "$root" # for nobody
requests() { # of 100 connections, each with a request
	local out
	out=$(in_a curl -sS --max-time 30 -o /dev/null -w '%{http_code}\n' -H 'Connection: close' \
		"http://$IP_B/small?[1-100]")
	[ "$(grep -c '^200$' <<<"$out")" = 100 ]
}
balanced() { # the master has done next to nothing, the workers about as much each
	local n p
	for p in "$server" $(workers); do n+=("$(cpu_us "$p")"); done
	echo "us of CPU: ${n[*]}"
	[ ${#n[@]} = 3 ] && [ "${n[0]}" -lt $((n[1] / 3)) ] && [ "${n[1]}" -gt $((n[2] / 3)) ] &&
		[ "${n[2]}" -gt $((n[1] / 3)) ]
}
load() { # [WRK-OPTIONS]: wrk for 2 s without an error
	local out
	out=$(in_a timeout 30 wrk -t 1 -c 64 -d 2 "$@" "http://$IP_B/small")
	echo "$out"
	! grep -qE 'Socket errors|Non-2xx' <<<"$out" && grep -q '^Requests/sec' <<<"$out"
}
nginx_signal() { in_b "$TANDEM" run --on "$TD" -- nginx -e "$TMP/ng.log" -c "$TMP/ng.conf" -s "$1"; }
workers() { pgrep -P "$(cat "$TMP/ng.pid")" | sort; }
new_workers() { [ "$(workers | wc -l)" -ge 2 ] && [ -z "$(comm -12 <(echo "$1") <(workers))" ]; }
in_flight() { [ "$(stat -c %s "$TMP/big.got" 2>/dev/null || echo 0)" -gt 1000000 ]; }
reload() { # new workers while a download goes on with an old one
	local old curl i
	old=$(workers)
	in_a curl -sS --max-time 120 --limit-rate 200M -o "$TMP/big.got" "http://$IP_B/big" &
	curl=$!
	wait_for 10 in_flight || return 1
	for i in 1 2 3; do
		nginx_signal reload || return 1
		wait_for 10 requests || return 1
	done
	alive $curl && echo "and still it loads"
	wait $curl && cmp "$TMP/big.got" "$root/big" && wait_for 20 new_workers "$old"
}
worker_killed() { # while the other one works, nobody else notices
	local out n
	n=$(xdp_direct)
	start_a timeout 30 wrk -t 1 -c 16 -d 3 -H 'Connection: close' "http://$IP_B/small" >"$TMP/wrk"
	wait_for 5 packets_are_more $((n + 1000)) || return 1
	kill -KILL "$(workers | head -n 1)"
	wait "$PID"
	cat "$TMP/wrk"
	# Connections that the dead one had accepted end with it: no more than it can have had.
	out=$(sed -n 's/.*Socket errors: connect \([0-9]*\), read \([0-9]*\), write \([0-9]*\), timeout \([0-9]*\)/\1 \2 \4/p' "$TMP/wrk")
	set -- ${out:-0 0 0}
	[ "$1" = 0 ] && [ "$2" -le 16 ] && [ "$3" = 0 ] && wait_for 10 requests
}
packets_are_more() { [ "$(xdp_direct)" -gt "$1" ]; }
if have nginx; then
	serve "$TMP/ng.out" nginx -e "$TMP/ng.log" -c "$TMP/ng.conf"
	server=$PID
	check "nginx with workers listens" wait_for 10 listens 80
	check "nginx: 100 connections" wait_for 10 requests
	check "nginx: each process is there" apps nginx 3
	if have wrk; then
		check "nginx under wrk, 64 connections kept alive" load
		check "nginx under wrk, a connection for each request" load -H 'Connection: close'
		check "nginx: the workers share the work, the master has none" balanced
		check "nginx: a worker is killed" worker_killed
	fi
	check "nginx -s reload, and 1 GB meanwhile" reload
	check "nginx -s quit" nginx_signal quit
	check "nginx ends" wait_for 10 not alive "$server"
	ended nginx
fi

# ---- python3: processes for connections, and a listener that several have ----

cat >"$TMP/fork.py" <<'END'
import os, socket, socketserver, sys
class Echo(socketserver.StreamRequestHandler):
    def handle(self):
        while d := self.request.recv(65536):
            self.request.sendall(d)
class Server(socketserver.ForkingTCPServer):
    allow_reuse_address = True
    request_queue_size = 64
    max_children = 64
Server((sys.argv[1], 8100), Echo).serve_forever(0.05)
END
# As vsftpd: a process for each connection limits its memory, and another one, its child by a system call of
# its own, in a PID namespace of its own, serves.
cat >"$TMP/limits.py" <<'END'
import ctypes, os, resource, signal, socket, sys
libc, SYS_clone = ctypes.CDLL(None), 56 if os.uname().machine == "x86_64" else 220
def serve(c):
    for limit in resource.RLIMIT_AS, resource.RLIMIT_DATA:
        resource.setrlimit(limit, (200 << 20, 200 << 20))
        assert resource.getrlimit(limit) == (200 << 20, 200 << 20)
        assert resource.prlimit(0, limit) == (200 << 20, 200 << 20)
    if not libc.syscall(SYS_clone, 0x20000000 | signal.SIGCHLD, 0, 0, 0, 0): # CLONE_NEWPID
        while d := c.recv(65536):
            c.sendall(d)
        try: # they hold, if not to the byte
            bytearray(8 << 30)
            print("no limit", flush=True)
        except MemoryError:
            pass
        os._exit(0)
    c.close()
    os.wait()
    os._exit(0)
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
l = socket.create_server((sys.argv[1], 8104), backlog=64)
while True:
    c, _ = l.accept()
    if not os.fork():
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        l.close()
        serve(c)
    c.close()
END
cat >"$TMP/pool.py" <<'END'
import multiprocessing as mp, os, signal, socket, sys
def work(l):
    while True:
        c, _ = l.accept()
        n = 0
        while d := c.recv(65536):
            n += len(d)
            c.sendall(d)
        c.close()
if __name__ == "__main__":
    mp.set_start_method(sys.argv[2])
    l = socket.create_server((sys.argv[1], 8101), backlog=64)
    ps = [mp.Process(target=work, args=(l,), daemon=True) for _ in range(3)]
    for p in ps:
        p.start()
    signal.signal(signal.SIGTERM, lambda *a: sys.exit(0))
    for p in ps:
        p.join()
END
cat >"$TMP/clients.py" <<'END'
import os, socket, sys, threading
good = []
def one(i):
    for _ in range(int(sys.argv[3])):
        s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 20)
        s.settimeout(20)
        d = os.urandom(50000)
        t = threading.Thread(target=lambda: (s.sendall(d), s.shutdown(socket.SHUT_WR)))
        t.start()
        got = b""
        while x := s.recv(65536):
            got += x
        t.join()
        s.close()
        if got == d:
            good.append(i)
ts = [threading.Thread(target=one, args=(i,)) for i in range(8)]
[t.start() for t in ts]
[t.join() for t in ts]
print(len(good), "of", 8 * int(sys.argv[3]))
END
clients() { # PORT N: eight at once, N connections each
	local out
	out=$(in_a timeout 60 python3 "$TMP/clients.py" $IP_B "$1" "$2")
	echo "$out"
	[ "$out" = "$((8 * $2)) of $((8 * $2))" ]
}
serve "$TMP/fork.out" python3 "$TMP/fork.py" $IP_B
server=$PID
check "python3 ForkingTCPServer listens" wait_for 10 listens 8100
check "python3 ForkingTCPServer: 64 connections, a process for each" clients 8100 8
stop "$server"
ended "python3 ForkingTCPServer"
serve "$TMP/limits.out" python3 "$TMP/limits.py" $IP_B
server=$PID
check "python3, processes that limit their memory: listens" wait_for 10 listens 8104
check "python3, processes that limit their memory: 16 connections" clients 8104 2
check "python3, processes that limit their memory: limits, and no complaint" sh -c "! grep . '$TMP/limits.out'"
stop "$server"
ended "python3, processes that limit their memory"
for method in fork spawn forkserver; do
	serve "$TMP/pool.out" python3 "$TMP/pool.py" $IP_B $method
	server=$PID
	check "python3 multiprocessing by $method listens" wait_for 10 listens 8101
	check "python3 multiprocessing by $method: 64 connections for 3 workers" clients 8101 8
	stop "$server"
	ended "python3 multiprocessing by $method"
done

# ---- sockets that a program starts with ----

cat >"$TMP/inetd.py" <<'END'
import os, socket, subprocess, sys
l = socket.create_server((sys.argv[1], 8102), backlog=64)
while True:
    c, _ = l.accept()
    subprocess.Popen(sys.argv[2:], stdin=c, stdout=c)
    c.close()
END
cat >"$TMP/activate.py" <<'END'
import os, socket, sys
l = socket.create_server((sys.argv[1], 8103), backlog=64)
if l.fileno() != 3:
    os.dup2(l.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.execvp(sys.argv[2], sys.argv[2:])
END
cat >"$TMP/activated.py" <<'END'
import os, socket
assert os.environ["LISTEN_PID"] == str(os.getpid()) and os.environ["LISTEN_FDS"] == "1"
l = socket.socket(fileno=3)
while True:
    c, _ = l.accept()
    while d := c.recv(65536):
        c.sendall(d)
    c.close()
END
serve "$TMP/inetd.out" python3 "$TMP/inetd.py" $IP_B cat
server=$PID
check "inetd-like: listens" wait_for 10 listens 8102
check "inetd-like: cat serves 32 connections" clients 8102 4
stop "$server"
ended "inetd-like"
serve "$TMP/activate.out" python3 "$TMP/activate.py" $IP_B python3 "$TMP/activated.py"
server=$PID
check "socket activation: listens" wait_for 10 listens 8103
check "socket activation: 64 connections" clients 8103 8
stop "$server"
ended "socket activation"

# ---- PostgreSQL ----

pg_bin=$(compgen -G '/usr/lib/postgresql/*/bin' | sort -V | tail -n 1)
as_postgres() { setpriv --reuid=postgres --regid=postgres --init-groups -- "$@"; }
bench() { # [PGBENCH-OPTIONS]: no transaction fails
	local out
	out=$(in_a timeout 120 "$pg_bin/pgbench" -h $IP_B -U postgres -n "$@" postgres 2>&1)
	echo "$out"
	grep -q 'number of failed transactions: 0 ' <<<"$out" && ! grep -qi 'error\|abort' <<<"$out"
}
pg_start() {
	mkdir "$TMP/pg" && chown postgres: "$TMP/pg" && cd / || return 1
	as_postgres "$pg_bin/initdb" -D "$TMP/pg/data" -A trust -N >"$TMP/initdb" || return 1
	echo "host all all 10.77.0.0/24 trust" >>"$TMP/pg/data/pg_hba.conf"
	cd "$TOP" || exit 1
}
if [ -n "$pg_bin" ] && id postgres >/dev/null 2>&1; then
	check "a PostgreSQL database" pg_start
	start_b setpriv --reuid=postgres --regid=postgres --init-groups -- "$TANDEM" run --on "$TD" -- \
		"$pg_bin/postgres" -D "$TMP/pg/data" -h $IP_B -k "$TMP/pg" -c fsync=off >"$TMP/pg.log" 2>&1
	server=$PID
	check "PostgreSQL listens" wait_for 20 listens 5432
	check "pgbench -i" in_a "$pg_bin/pgbench" -h $IP_B -U postgres -q -i -s 2 postgres
	check "pgbench, 8 clients" bench -c 8 -t 100
	check "pgbench, a connection for each transaction" bench -c 4 -C -t 25
	check "psql over the unix socket" as_postgres "$pg_bin/psql" -h "$TMP/pg" -c 'select 1'
	check "PostgreSQL ends" stop "$server"
	ended PostgreSQL
else
	skip "PostgreSQL: not installed"
fi

# ---- ssh ----

ssh_keys() {
	mkdir -p /run/sshd
	ssh-keygen -q -t ed25519 -N '' -f "$TMP/host" && ssh-keygen -q -t ed25519 -N '' -f "$TMP/user" &&
		chmod 644 "$TMP/user.pub"
}
ssh_up() { # a server on the kernel's sockets
	start_a /usr/sbin/sshd -D -e -f /dev/null -h "$TMP/host" -p 2222 -o ListenAddress=$IP_A \
		-o AuthorizedKeysFile="$TMP/user.pub" -o StrictModes=no -o UsePAM=no -o PidFile=none \
		>"$TMP/sshd.log" 2>&1
	SSHD=$PID
	wait_for 10 in_a bash -c ": </dev/tcp/$IP_A/2222"
}
ssh_cat() { # through a process at the other end and back
	in_b timeout 60 "$TANDEM" run --on "$TD" -- ssh -q -i "$TMP/user" -p 2222 -o BatchMode=yes \
		-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null "$(id -un)@$IP_A" cat \
		<"$TMP/ssh.file" | cmp - "$TMP/ssh.file"
}
if have ssh && have sshd; then
	random_file "$TMP/ssh.file" 20
	check "keys for ssh" ssh_keys
	check "sshd on the kernel's sockets" ssh_up
	check "ssh as client: 20 MB there and back" ssh_cat
	stop "$SSHD"
fi

# The server: each connection is begun by a process in a chroot, as another user, with limits and a
# seccomp filter that kills; then it is its parent's, or that of a child that is the user.
sshd_conf() {
	cat <<-END
		ListenAddress $IP_B
		Port 2222
		HostKey $TMP/host
		AuthorizedKeysFile $TMP/user.pub
		StrictModes no
		UsePAM no
		PidFile none
		Subsystem sftp internal-sftp
		MaxStartups 100
	END
}
ssh_opts=(-q -i "$TMP/user" -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null)
ssh_root() { in_a timeout 60 ssh "${ssh_opts[@]}" -p 2222 "root@$IP_B" "$@"; }
sshd_command() { [ "$(ssh_root 'echo done by $USER')" = "done by root" ]; }
sshd_cat() { ssh_root cat <"$TMP/ssh.file" | cmp - "$TMP/ssh.file"; }
sshd_scp() {
	rm -f "$TMP/ssh.got"
	in_a timeout 60 scp "${ssh_opts[@]}" -P 2222 "$TMP/ssh.file" "root@$IP_B:$TMP/ssh.got" &&
		cmp "$TMP/ssh.file" "$TMP/ssh.got"
}
sshd_other() { # as a user who is not root
	rm -f "$TMP/ssh.got"
	chmod 644 "$TMP/ssh.file"
	in_a timeout 60 sftp "${ssh_opts[@]}" -P 2222 -b - "nobody@$IP_B" <<<"get $TMP/ssh.file $TMP/ssh.got" &&
		cmp "$TMP/ssh.file" "$TMP/ssh.got"
}
sshd_many() { # eight at once
	local i pids=()
	for i in 1 2 3 4 5 6 7 8; do
		[ "$(ssh_root "echo number $i")" = "number $i" ] &
		pids+=($!)
	done
	for i in "${pids[@]}"; do wait "$i" || return 1; done
}
if have ssh && have sshd; then
	sshd_conf >"$TMP/sshd_config"
	serve "$TMP/sshd.log" /usr/sbin/sshd -D -e -f "$TMP/sshd_config"
	server=$PID
	check "sshd listens" wait_for 10 listens 2222
	check "sshd: a command" sshd_command
	check "sshd: 20 MB through cat" sshd_cat
	check "sshd: 20 MB by scp" sshd_scp
	check "sshd: 20 MB by sftp, as nobody" sshd_other
	check "sshd: eight clients at once" sshd_many
	stop "$server" # ends on a signal with status 255
	ended sshd
fi

# ---- the end ----

check "no flow is left but those in TIME_WAIT" wait_for 20 flows_live 0
check "detach" detach
