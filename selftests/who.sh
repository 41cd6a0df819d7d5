# SPDX-License-Identifier: BSD-2-Clause
# For tests of who serves a port (selftests/who.py): connections one after the other, a load that goes on
# while something happens, and what came of them. After lib.sh.
CLIENT=$TOP/selftests/who.py
client() { in_a timeout 60 python3 "$CLIENT" "$@" >"$TMP/out" 2>"$TMP/err"; } # PORT N
load() { # PORT AT_ONCE: until load_ends
	rm -f "$TMP/load.in"
	mkfifo "$TMP/load.in"
	exec 7<>"$TMP/load.in"
	start_a timeout 120 python3 "$CLIENT" "$1" 0 "$2" >"$TMP/load" 2>"$TMP/err" <&7
	LOAD=$PID
	wait_for 20 grep -q runs "$TMP/load"
}
load_ends() {
	echo >&7
	wait "$LOAD"
	tail -1 "$TMP/load" >"$TMP/out"
}
# served JQ-EXPRESSION: of {name: connections} of the last client, or load
served() { jq -e "$1" "$TMP/out" >/dev/null || { cat "$TMP/out" "$TMP/err" >&2; false; }; }
packets() { echo $(($(xdp port_direct) + $(xdp port_slow) + $(xdp flow_direct))); }
packets_are_more() { [ "$(packets)" -gt "$1" ]; }
meanwhile() { local n; n=$(packets); wait_for 20 packets_are_more $((n + ${1:-500})); } # [PACKETS] have come
