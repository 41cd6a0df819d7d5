#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# tandem run itself: what it says when nothing is attached, the fallback, programs that start programs,
# an environment as systemd gives it, and TANDEM_DEBUG.
#
#   $NS_A  eth0 10.77.0.1/24 ──── veth ──── eth0 10.77.0.2/24  $NS_B
#          http.server (kernel)             tandem run ─► curl, sh, python3

. "$(dirname "$0")/../lib.sh"
setup
mkdir "$TMP/root"
random_file "$TMP/root/file" 1
start_a python3 -m http.server --bind $IP_A --directory "$TMP/root" 8001 2>/dev/null
url=http://$IP_A:8001/file
wait_for 10 in_a curl -sS -o /dev/null $url || die "no server"
run() { in_b timeout 60 "$TANDEM" run "$@" 2>"$TMP/err" </dev/null; }
# fetched COMMAND...: it puts the file on standard output
fetched() { "$@" | cmp - "$TMP/root/file"; }
said() { grep -qE -- "$1" "$TMP/err" || { cat "$TMP/err"; return 1; }; }
silent() { [ ! -s "$TMP/err" ] || { cat "$TMP/err"; return 1; }; }
# fails STATUS COMMAND...
fails() {
	local want=$1 rc
	shift
	"$@"
	rc=$?
	[ $rc = "$want" ] || { echo "exit status $rc"; return 1; }
}
# direct COMMAND...: it works, and tandem carried it
direct() {
	local before
	before=$(xdp_direct)
	"$@" && [ "$(xdp_direct)" -gt $((before + 10)) ]
}

# ---- nothing attached ----

check "nothing attached: exit status 1" fails 1 run -- touch "$TMP/ran"
check "and a sentence says what to do" said 'nothing is attached in this network namespace.*tandem attach'
check "the program was not run" [ ! -e "$TMP/ran" ]
check "a name that is not there: exit status 1" fails 1 run --on nosuch -- touch "$TMP/ran"
check "and it is named" said '^tandem run: nosuch: '
check "--fallback kernel: the kernel's sockets" fetched run --fallback kernel -- curl -sS $url
check "in silence" silent
check "in a shell, too" fetched run --fallback kernel -- sh -c "true; exec curl -sS $url"

# ---- attached ----

attach || die "attach"
check "the only one in this namespace is found" direct fetched run -- curl -sS $url
check "in silence" silent
check "by name" direct fetched run --on "$TD" -- curl -sS $url
check "--fallback kernel makes no difference" direct fetched run --fallback kernel -- curl -sS $url
check "not from another namespace" not "$TANDEM" run -- true
check "but by name" in_a "$TANDEM" run --on "$TD" -- true

# ---- programs that start programs ----

check "a shell" direct fetched run -- sh -c "curl -sS $url"
check "a chain of exec" direct fetched run -- sh -c "exec env A=b nice -n 0 sh -c 'exec curl -sS $url'"
check "a pipeline" direct fetched run -- sh -c "curl -sS $url | cat | dd status=none"
check "xargs" direct fetched run -- sh -c "echo $url | xargs -n 1 curl -sS"
check "python3's subprocess" direct fetched run -- python3 -c "
import subprocess, sys
sys.stdout.buffer.write(subprocess.run(['curl', '-sS', '$url'], capture_output=True).stdout)"
check "run within run" direct fetched run -- "$TANDEM" run -- curl -sS $url
check "the program's exit status" fails 7 run -- sh -c 'exit 7'
check "not there: 127" fails 127 run -- "$TMP/nosuch"
check "cannot be executed: 126" fails 126 run -- "$TMP/root"
check "a signal's, as the shell sees it" fails 143 sh -c "'$TANDEM' run --on '$TD' -- sh -c 'kill \$\$'; exit \$?"

# ---- as a service ----

check "the example unit has a command for it" \
	grep -qE '^ExecStart=[^ ]*/tandem run --on eth0 -- ' "$TOP/configs/redis-on-tandem.service"
if command -v systemd-analyze >/dev/null; then
	check "systemd accepts the units" sh -c "
		sed 's#/usr/local/bin/tandem#$TANDEM#; s#^User=.*##' '$TOP/configs/redis-on-tandem.service' >'$TMP/r.service' &&
		systemd-analyze verify '$TMP/r.service' 2>&1 | grep -vE 'tandemd@|man ' | grep . && exit 1; true"
fi
service() { # without an environment, without a terminal, as another user and group
	in_b env -i setpriv --reuid 65534 --regid "$1" --clear-groups timeout 60 \
		"$TANDEM" run --on "$TD" -- curl -sS $url 2>"$TMP/err" </dev/null
}
check "another user may not use it" fails 1 service 65534
check "and is told why" said 'socket_mode and socket_group'
check "the group of the control socket may" direct fetched service 0
check "in silence" silent

# ---- TANDEM_DEBUG ----

traced() { in_b env TANDEM_DEBUG=1 timeout 60 "$TANDEM" run --on "$TD" -- "$@" 2>"$TMP/err"; }
check "a traced program does what it does" fetched traced curl -sS $url
check "the socket" said '^tandem\[[0-9]+\]: socket\(2, [0-9]+, [0-9]+\) = [0-9]+$'
check "connect() with the address" said "connect\([0-9]+, $IP_A:8001, 16\) = -1, EINPROGRESS$"
check "what was sent" said 'send(to)?\([0-9]+, 0x[0-9a-f]+, [0-9]+, [0-9]+.*\) = [0-9]+$'
check "its own address" said "getsockname\([0-9]+, $IP_B:[0-9]+, 0x[0-9a-f]+\) = 0$"
cat >"$TMP/other.py" <<END
import socket
s = socket.socket()
try:
    s.connect(("127.0.0.1", 9))
except OSError:
    pass
l = socket.socket(socket.AF_INET6)
l.bind(("::", 0))
l.listen()
c = socket.create_connection(("$IP_A", 8001))
try:
    c.getsockopt(socket.SOL_SOCKET, 9999)
except OSError:
    pass
END
check "one that turns to the kernel" traced python3 "$TMP/other.py"
check "and why" said "descriptor [0-9]+ is the kernel's: it connects to an address that is not tandem's"
check "bind() of IPv6" said 'bind\([0-9]+, \[::\]:0, [0-9]+\) = 0$'
check "a call that fails, with its error" said 'getsockopt\([0-9]+, 1, 9999, 0x[0-9a-f]+, 0x[0-9a-f]+\) = -1, ENOPROTOOPT$'
check "0 is no tracing" sh -c "
	TANDEM_DEBUG=0 nsenter --net=/run/netns/$NS_B '$TANDEM' run --on '$TD' -- curl -sS -o /dev/null $url 2>'$TMP/err' &&
	[ ! -s '$TMP/err' ]"
check "detach" detach
