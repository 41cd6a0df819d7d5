#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# TCP fast open (RFC 7413) between tandem and the kernel, each as server and as client: the first
# connection asks for a cookie, the next ones carry data in the SYN.
#
#   $NS_A  eth0 10.77.0.1/24 ──── veth ──── eth0 10.77.0.2/24  $NS_B
#          fastopen.py, kernel's            fastopen.py on tandem
#
# RFC 7413 §4.1.2/1, §4.1.3/1, §4.2.1/1

. "$(dirname "$0")/../lib.sh"
setup
in_a sysctl -qw net.ipv4.tcp_fastopen=3
echo "tcp_fastopen = 3" >"$TMP/conf"
attach --config "$TMP/conf" || die "attach"
fo() { python3 "$TOP/selftests/fastopen.py" "$@"; }
on_a() { in_a timeout 30 python3 "$TOP/selftests/fastopen.py" "$@"; }
on_b() { in_b timeout 30 "$TANDEM" run --on "$TD" -- python3 "$TOP/selftests/fastopen.py" "$@"; }
says() { # WANT COMMAND...
	local want=$1 got
	shift
	got=$("$@" 2>&1)
	[ "$got" = "$want" ] || { echo "$got, not $want"; return 1; }
}
ours() { "$TANDEM" stat "$TD" --json | jq ".counters.TcpExtTCPFastOpen$1"; }
kernels() { in_a cat /proc/net/netstat | awk -v c="TCPFastOpen$1" '$1 == "TcpExt:" { if (n++) print $i; else for (i = 1; $i != c; i++) ; }'; }

start_b "$TANDEM" run --on "$TD" -- python3 "$TOP/selftests/fastopen.py" serve $IP_B 8000 >"$TMP/server_b"
server_b=$PID
start_a python3 "$TOP/selftests/fastopen.py" serve $IP_A 8000 >"$TMP/server_a"
wait_for 10 grep -q listening "$TMP/server_a" && wait_for 10 grep -q listening "$TMP/server_b" || die "servers"

for side in a b; do
	client=on_$side ip=$IP_B what="the kernel's client" server=b
	[ $side = a ] || { ip=$IP_A what="tandem's client" server=a; }
	check "$what asks for a cookie" says "same in the SYN False" $client sendto $ip 8000
	check "$what sends data in the SYN" says "same in the SYN True" $client sendto $ip 8000
	check "… with TCP_FASTOPEN_CONNECT" says "same in the SYN True" $client connect $ip 8000
	check "… without waiting" says "same in the SYN True" $client nonblock $ip 8000
	check "… more than fits" says "same in the SYN True" $client sendto $ip 8000 100000
	check "… not where it does not ask" says "same in the SYN False" $client plain $ip 8000
	wait_for 10 sh -c "[ \$(grep -c True $TMP/server_$server) = 4 ]"
	check "the server knows, too" [ "$(grep -c True "$TMP/server_$server") $(grep -c False "$TMP/server_$server")" = "4 2" ]
done
check "tandem's counters of the server" [ "$(ours Passive) $(ours CookieReqd) $(ours PassiveFail)" = "4 1 0" ]
check "tandem's counters of the client" [ "$(ours Active) $(ours ActiveFail)" = "4 0" ]
check "the kernel's of the client" [ "$(kernels Active)" = 4 ]
check "the kernel's of the server" [ "$(kernels Passive)" = 4 ]
# Another key, as after a restart of the peer: the old cookies are worth nothing, the data gets there.
in_a sysctl -qw net.ipv4.tcp_fastopen_key=00000001-00000002-00000003-00000004
check "a cookie that is not good any more" says "same in the SYN False" on_b sendto $IP_A 8000
check "and then the new one" says "same in the SYN True" on_b sendto $IP_A 8000

# ---- keys: the kernel's, which outlive the daemon; the server's own ----

key() { in_b sysctl -n net.ipv4.tcp_fastopen_key; }
check "the kernel has been given a key" [ "$(key)" != 00000000-00000000-00000000-00000000 ]
restart() { # SERVER-OPTIONS...: daemon and server
	stop "$server_b"
	detach >/dev/null || return 1
	attach --config "$TMP/conf" || return 1
	serve_b "$@"
}
serve_b() {
	start_b "$TANDEM" run --on "$TD" -- python3 "$TOP/selftests/fastopen.py" serve $IP_B 8000 "$@" >"$TMP/server_b"
	server_b=$PID
	wait_for 10 grep -q listening "$TMP/server_b"
}
check "a new daemon" restart
check "… takes the cookies of the one before" says "same in the SYN True" on_a sendto $IP_B 8000
stop "$server_b"
detach >/dev/null
in_b sysctl -qw net.ipv4.tcp_fastopen=3
start_b python3 "$TOP/selftests/fastopen.py" serve $IP_B 8000 >"$TMP/server_b"
server_b=$PID
wait_for 10 grep -q listening "$TMP/server_b"
check "the kernel's server takes them, too" says "same in the SYN True" on_a sendto $IP_B 8000
stop "$server_b"
attach --config "$TMP/conf" || die "attach"
one=00112233445566778899aabbccddeeff two=ffeeddccbbaa99887766554433221100
check "a server with a key of its own" serve_b $one
check "… does not" says "same in the SYN False" on_a sendto $IP_B 8000
check "… but its own" says "same in the SYN True" on_a sendto $IP_B 8000
stop "$server_b"
check "it changes keys" serve_b $two$one
check "… takes those of the old key" says "same in the SYN True" on_a sendto $IP_B 8000
check "… and gives a new one" says "same in the SYN True" on_a sendto $IP_B 8000
check "… as it counts" says "1 3" echo "$(ours PassiveAltKey) $(ours Passive)"
stop "$server_b"
check "no flow is left but those in TIME_WAIT" wait_for 10 flows_live 0
check "detach" detach
