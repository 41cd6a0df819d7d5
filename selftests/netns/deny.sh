#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# `tandem deny`: packets from listed prefixes are dropped and counted, also those of a live connection;
# what is taken off the list is served again. Wrong words are refused with a sentence.
#
#   $NS_A  eth0 10.77.0.1/24, 10.77.0.9 ──── veth ──── eth0 10.77.0.2/24  $NS_B
#          clients                                     tandem: echo_server :7

. "$(dirname "$0")/../lib.sh"
setup
ip -n "$NS_A" addr add 10.77.0.9/24 dev eth0

cat >"$TMP/echo.py" <<'END'
import socket, sys
s = socket.create_connection((sys.argv[2], 7), 1, (sys.argv[1], 0))
s.settimeout(1)
s.sendall(b"hello")
sys.exit(s.recv(5) != b"hello")
END
echo_from() { in_a python3 "$TMP/echo.py" "$1" $IP_B; }
deny() { "$TANDEM" deny "$@" "$TD"; }
denied() { "$TANDEM" deny list "$TD" --json; }
denied_is() { denied | jq -e "$1" >/dev/null; }
# refused STATUS WORDS...: with that exit status and a sentence.
refused() {
	local want=$1 got=0
	shift
	"$TANDEM" deny "$@" >"$TMP/out" 2>&1 || got=$?
	[ $got = "$want" ] && grep -q '^tandem deny' "$TMP/out"
}

attach || die "attach"
serve_on "$TMP/echo" "$B/tools/echo_server" --addr $IP_B --port 7 || exit 1
check "served before" echo_from $IP_A
check "the list is empty" denied_is 'length == 0'
check "a network is added" deny add 10.77.0.8/30
check "an address of it is denied" not echo_from 10.77.0.9
check "packets are counted" denied_is '.[0].prefix == "10.77.0.8/30" and .[0].packets > 0'
check "so does the program" [ "$(xdp drop_deny)" -gt 0 ]
check "others are served" echo_from $IP_A
check "a longer prefix has its own count" deny add 10.77.0.9
check "it is denied still" not echo_from 10.77.0.9
check "by the longer one" denied_is '[.[] | select(.prefix == "10.77.0.9/32")][0].packets > 0'
check "IPv6, too" deny add 2001:db8::/32
check "all are listed" denied_is '[.[].prefix] | sort == ["10.77.0.8/30", "10.77.0.9/32", "2001:db8::/32"]'
check "twice is refused" refused 1 add 10.77.0.9/32 "$TD"
check "what is not there cannot go" refused 1 del 10.77.0.10 "$TD"
check "bits beyond the length are refused" refused 2 add 10.77.0.9/30 "$TD"
for word in 10.77.0 10.77.0.9/33 10.77.0.9/ 10.77.0.9/x ::/129 name; do
	check "no prefix: $word" refused 2 add $word "$TD"
done
check "no such verb" refused 2 show "$TD"
check "the prefix is missing" refused 2 add
check "no such attachment" refused 1 list "$TD-none"
check "one word too many" refused 2 list "$TD" more
for prefix in 10.77.0.8/30 10.77.0.9 2001:db8::/32; do
	check "$prefix is taken off" deny del $prefix
done
check "the list is empty again" denied_is 'length == 0'
check "and all are served" echo_from 10.77.0.9
check "detach" detach
