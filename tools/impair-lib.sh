# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash
# The two namespaces of selftests/lib.sh with a bad link between them (tools/impair.c).
#
#   $NS_A  eth0 $IP_A ─── veth ─── ra impair rb ── veth ─── eth0 $IP_B  $NS_B
#          kernel                    $NS_R                   tandem or kernel
#
# Frames are segments here: no end gives its device more than one at a time, so that losing one frame is
# losing one segment, and each carries a whole checksum, as on a wire.

. "$(dirname "${BASH_SOURCE[0]}")/../selftests/lib.sh"
NS_R=td-$$-r
RELAY=
RELAY_ENDS=(ra rb) # the first direction of the relay is from the first to the second

in_r() { in_ns "$NS_R" "$@"; }

# Instead of setup().
relay_setup() {
	local ns
	setup
	ip netns add "$NS_R" || die "cannot add network namespace $NS_R"
	ip -n "$NS_A" link del eth0
	ip -n "$NS_R" link add ra type veth peer name eth0 netns "$NS_A" || die "cannot add a veth pair"
	ip -n "$NS_R" link add rb type veth peer name eth0 netns "$NS_B" || die "cannot add a veth pair"
	in_r sysctl -qw net.ipv6.conf.all.disable_ipv6=1
	ip -n "$NS_R" link set ra up
	ip -n "$NS_R" link set rb up
	ip -n "$NS_A" addr add $IP_A/24 dev eth0
	ip -n "$NS_B" addr add $IP_B/24 dev eth0
	for ns in "$NS_A" "$NS_B"; do
		# No connection may learn from the one before it.
		in_ns "$ns" sysctl -qw net.ipv4.tcp_no_metrics_save=1
		in_ns "$ns" ethtool -K eth0 tso off gso off gro off tx-checksumming off >/dev/null 2>&1
		ip -n "$ns" link set eth0 up
	done
}

# relay OPTIONS...: one that forwards so, in place of any other.
relay() {
	relay_end || return 1
	: >"$TMP/relay"
	start_in "$NS_R" "$B/tools/impair" "${RELAY_ENDS[@]}" "$@" >"$TMP/relay" 2>&1
	RELAY=$PID
	wait_for 10 grep -q ready "$TMP/relay" || {
		cat "$TMP/relay"
		return 1
	}
}
relay_end() {
	[ -z "$RELAY" ] || stop "$RELAY" || return 1
	RELAY=
}
# relayed COUNTER: of both directions, after relay_end.
relayed() { jq -R "fromjson? | .forth.$1 + .back.$1" "$TMP/relay"; }
