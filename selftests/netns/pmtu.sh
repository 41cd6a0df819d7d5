#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Path MTU discovery (RFC 1191) for a connection that an application owns: the router's "too big"
# comes to the daemon, which gives it to the owner's stack.
#
#   $NS_C (client)                 $NS_A (router)                     $NS_B (server)
#     eth0 192.0.2.1/24 ── veth ── c0 .254, MTU 1300
#                                  eth0 10.77.0.1/24 ───── veth ───── eth0 10.77.0.2/24
#     curl                                                            tandem ─► http_server :80

. "$(dirname "$0")/../lib.sh"
setup
NS_C=td-$$-c
trap 'ip netns del "$NS_C"; cleanup' EXIT
ip netns add "$NS_C" || die "cannot add network namespace $NS_C"
ip -n "$NS_A" link add c0 mtu 1300 type veth peer name eth0 netns "$NS_C"
ip -n "$NS_A" addr add 192.0.2.254/24 dev c0
ip -n "$NS_A" link set c0 up
ip -n "$NS_C" addr add 192.0.2.1/24 dev eth0
ip -n "$NS_C" link set eth0 up
ip -n "$NS_C" route add default via 192.0.2.254
ip -n "$NS_B" route add 192.0.2.0/24 via $IP_A
in_a sysctl -qw net.ipv4.ip_forward=1
in_a ethtool -K eth0 gro off gso off tso off >/dev/null
mkdir "$TMP/root"
random_file "$TMP/root/mid" 20

attach || die "attach"
serve_on "$TMP/server" "$B/tools/http_server" --addr $IP_B --port 80 --root "$TMP/root" || exit 1
server=$PID
check "20 MB over a path of 1300 bytes" sh -c "
	nsenter --net=/run/netns/$NS_C curl -sS --max-time 20 http://$IP_B/mid | cmp - $TMP/root/mid"
icmp_errors() { [ "$(xdp icmp_error)" -ge 1 ]; }
check "the router had to say so" icmp_errors

# ---- the interface's own MTU, while a connection sends ----
in_a timeout 60 curl -sS --limit-rate 4M -o "$TMP/got" "http://$IP_B/mid" &
curl=$!
mss_is() { "$TANDEM" ss "$TD" -tin state established src $IP_B:80 | grep -q "[^a-z]mss:$1"; }
check "a connection that sends 1500 bytes" wait_for 10 mss_is 1448
timeouts() { "$TANDEM" stat "$TD" --json | jq '.counters.TcpExtTCPTimeouts // 0'; }
before=$(timeouts)
ip -n "$NS_B" link set eth0 mtu 1200
check "sends 1200 from now on" wait_for 10 mss_is 1148
ip -n "$NS_A" link set eth0 mtu 1200
check "and all arrives" wait "$curl"
check "as it is" cmp "$TMP/got" "$TMP/root/mid"
check "without a timeout" [ "$(timeouts)" = "$before" ]
stop "$server"
check "detach" detach
