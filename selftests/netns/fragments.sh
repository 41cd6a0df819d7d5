#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# TCP segments that a router has cut (the peer does not set DF) reach the connection's owner: the daemon
# puts them together and passes them on.
#
#   $NS_C (client, no DF)          $NS_A (router)                     $NS_B (server)
#     eth0 192.0.2.1/24 ── veth ── c0 .254
#                                  eth0 10.77.0.1/24 ───── veth ───── eth0 10.77.0.2/24
#     upload                        cuts to 600 bytes                 tandem ─► echo_server :7

. "$(dirname "$0")/../lib.sh"
setup
NS_C=td-$$-c
trap 'ip netns del "$NS_C"; cleanup' EXIT
ip netns add "$NS_C" || die "cannot add network namespace $NS_C"
ip -n "$NS_A" link add c0 type veth peer name eth0 netns "$NS_C"
ip -n "$NS_A" addr add 192.0.2.254/24 dev c0
ip -n "$NS_A" link set c0 up
ip -n "$NS_C" addr add 192.0.2.1/24 dev eth0
ip -n "$NS_C" link set eth0 up
ip -n "$NS_C" route add default via 192.0.2.254
ip -n "$NS_B" route add 192.0.2.0/24 via $IP_A
in_a sysctl -qw net.ipv4.ip_forward=1
in_ns "$NS_C" sysctl -qw net.ipv4.ip_no_pmtu_disc=1
in_ns "$NS_C" ethtool -K eth0 gro off gso off tso off >/dev/null
in_a ethtool -K eth0 gro off gso off tso off >/dev/null
in_a ethtool -K c0 gro off gso off tso off >/dev/null
ip -n "$NS_A" route change 10.77.0.0/24 dev eth0 src $IP_A mtu lock 600

cat >"$TMP/upload.py" <<'END'
import random, socket, sys
data, got = random.Random(1).randbytes(1 << 20), bytearray()
s = socket.create_connection((sys.argv[1], 7), 10)
s.settimeout(3)
for at in range(0, len(data), 65536):
    s.sendall(data[at:at + 65536])
    while len(got) < at + 65536:
        piece = s.recv(65536)
        if not piece:
            sys.exit(f"closed after {len(got)} bytes")
        got += piece
sys.exit("other bytes came back" if got != data else 0)
END

attach || die "attach"
serve_on "$TMP/server" "$B/tools/echo_server" --addr $IP_B --port 7 || exit 1
server=$PID
counter() { "$TANDEM" stat "$TD" --json | jq ".counters.$1 // 0"; }
check "1 MB in fragments, echoed" in_ns "$NS_C" timeout 60 python3 "$TMP/upload.py" $IP_B
check "they were fragments" [ "$(xdp fragment)" -ge 1000 ]
check "put together" [ "$(counter IpReasmOKs)" -ge 500 ]
check "and passed on to their owner" [ "$(counter TdInjected)" -ge 500 ]
echo "# $(counter TcpRetransSegs) retransmissions of ours, $(counter IpReasmFails) fragments failed"
stop "$server"
check "no frame is lost" wait_for 15 status_is \
	'.frames | .bad == 0 and .tx == 0 and .pool + .fill + .owned == .total'
check "detach" detach
