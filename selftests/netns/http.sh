#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# The kernel's curl fetches from http_server on tandem.
# BIG_MB: size of the large file, 1024 unless given.
#
#   $NS_A  eth0 10.77.0.1/24 ──── veth ──── eth0 10.77.0.2/24  $NS_B
#          curl, conns.py                   tandem ─► http_server :80

. "$(dirname "$0")/../lib.sh"
setup
: "${BIG_MB:=1024}"
root=$TMP/root
mkdir "$root"
random_file "$root/big" "$BIG_MB"
random_file "$root/mid" 3
head -c 1000 "$root/mid" >"$root/small"
: >"$root/empty"
url=http://$IP_B

fetch() { in_a curl -sS --max-time 120 "$@"; }
same() { fetch -o "$TMP/got" "$url/$1" && cmp "$TMP/got" "$root/$1"; }
code() { [ "$(fetch -o /dev/null -w '%{http_code}' "${@:2}")" = "$1" ]; }
range() { # RANGE SKIP COUNT
	fetch -r "$1" -o "$TMP/got" "$url/mid" &&
		cmp "$TMP/got" <(tail -c +$(($2 + 1)) "$root/mid" | head -c "$3")
}

attach || die "attach"
serve_on "$TMP/server" "$B/tools/http_server" --addr $IP_B --port 80 --root "$root" || exit 1
server=$PID

check "small file" same small
check "empty file" same empty
check "3 MB file" same mid
check "404" code 404 "$url/nosuch"
check "no way out of the root" code 403 --path-as-is "$url/../../../../etc/passwd"
check "HEAD" sh -c "nsenter --net=/run/netns/$NS_A curl -sSI $url/mid | tr -d '\r' | grep -qi '^content-length: 3145728\$'"
check "range from the start" range 0-99 0 100
check "range in the middle" range 1000000-1999999 1000000 1000000
check "range to the end" range 3145000- 3145000 728
check "last bytes" range -500 3145228 500
check "range beyond the end: 416" code 416 -r 9999999- "$url/mid"
check "unsupported method refused" code 405 -X BREW "$url/small"
check "50 requests over one connection" sh -c "
	nsenter --net=/run/netns/$NS_A curl -sS -o /dev/null -w '%{num_connects}\n' '$url/small?[1-50]' |
	awk '{ n += \$1 } END { exit NR != 50 || n != 1 }'"
ip -n "$NS_A" addr add 192.0.2.1/32 dev lo
ip -n "$NS_B" route add 192.0.2.0/24 via $IP_A
check "a client behind a gateway" sh -c "
	nsenter --net=/run/netns/$NS_A curl -sS --max-time 20 --interface 192.0.2.1 $url/mid | cmp - $root/mid"
check "$BIG_MB MB, checksum equal" sh -c "
	nsenter --net=/run/netns/$NS_A curl -sS --max-time 300 $url/big | cmp - $root/big"
check "no flow is left" wait_for 10 flows_are 0

direct=$(xdp flow_direct) slow=$(xdp flow_slow)
check "1000 connections at once, each answered" conns_open 1000
# a connection that a listener in the application has made gets its entry a little later
check "the flow table holds exactly these" wait_for 10 flows_are 1000
check "plain bpftool sees them" sh -c "
	bpftool map dump pinned /sys/fs/bpf/tandem/$TD/flows -j | jq -e 'length == 1000'"
# a request may overtake its entry; then the delayed ACK of the answer is the first to go directly
check "each is established and the server's" wait_for 10 sh -c "'$TANDEM' flows '$TD' --json |
	jq -e 'all(.[]; .state == \"established\" and .slot > 0 and .packets > 0)'"
check "a further one is served meanwhile" same small
check "they are closed in order" conns_close
check "no flow is left after them" wait_for 10 flows_are 0
check "the handshakes went the slow path, the data did not" \
	[ "$(xdp flow_direct)" -ge $((direct + 2000)) ]
check "the slow path took a bounded share" [ $(($(xdp flow_slow) - slow)) -lt 6000 ]

check "the server goes when told" stop "$server"
check "no application is left" wait_for 10 status_is '(.applications | length) == 0'
check "its port is free" wait_for 10 status_is '(.listeners | length) == 0'
check "connecting is refused by the kernel then" sh -c "
	nsenter --net=/run/netns/$NS_A curl -sS --max-time 5 $url/small; [ \$? = 7 ]"
serve_on "$TMP/server2" "$B/tools/http_server" --addr $IP_B --port 80 --root "$root" || exit 1
check "a new server on the same port" same mid
stop "$PID"
check "detach" detach
