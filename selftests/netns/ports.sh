#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Who may have a port below 1024: root, and who has CAP_NET_BIND_SERVICE, but not one that has it only in
# a user namespace of its own.
#
#   $NS_A  eth0 10.77.0.1/24 ──── veth ──── eth0 10.77.0.2/24  $NS_B
#                                           tandem run -- python3, as nobody

. "$(dirname "$0")/../lib.sh"
setup
printf 'socket_group = nogroup\n' >"$TMP/tandem.conf"
chmod 755 "$TMP"
cat >"$TMP/bind.py" <<'END'
import errno, socket, sys
l = socket.socket()
try:
    l.bind((sys.argv[1], int(sys.argv[2])))
    l.listen()
    print("ok")
except OSError as e:
    print(errno.errorcode[e.errno])
END
# says WHAT PORT PREFIX...: what bind() gives a program that is started by these words.
says() {
	local want=$1 port=$2 got
	shift 2
	got=$(TANDEM_DEBUG=1 in_b "$@" "$TANDEM" run --on "$TD" -- python3 "$TMP/bind.py" $IP_B "$port" 2>"$TMP/debug")
	echo "bind: $got"
	grep -q 'tandem.*: attached' "$TMP/debug" && [ "$got" = "$want" ]
}
nobody=(setpriv --reuid nobody --regid nogroup --clear-groups)
cap=(--inh-caps +net_bind_service --ambient-caps +net_bind_service)
raw=(--inh-caps +net_raw --ambient-caps +net_raw)
attach --config "$TMP/tandem.conf" || die "attach"
command -v setpriv >/dev/null || die "setpriv is there"
check "root may" says ok 80 env
check "root without the capability may not" says EACCES 80 setpriv --bounding-set -net_bind_service
check "nobody may not" says EACCES 80 "${nobody[@]}"
check "but from 1024 on" says ok 1024 "${nobody[@]}"
check "nobody with the capability may" says ok 80 "${nobody[@]}" "${cap[@]}"
check "nobody with another one may not" says EACCES 80 "${nobody[@]}" "${raw[@]}"
if "${nobody[@]}" unshare -U -r true 2>/dev/null; then
	check "nor with all of them in its own user namespace" says EACCES 80 "${nobody[@]}" unshare -U -r
else
	skip "user namespaces: not for nobody here"
fi
check "detach" detach
