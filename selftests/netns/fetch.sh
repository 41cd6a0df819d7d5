#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# http_fetch on tandem fetches from nginx on the kernel's sockets.
#
#   $NS_A  eth0 10.77.0.1/24 ──── veth ──── eth0 10.77.0.2/24  $NS_B
#          nginx :8080                      http_fetch ─► tandem

. "$(dirname "$0")/../lib.sh"
setup
root=$TMP/root
mkdir "$root"
random_file "$root/big" "${BIG_MB:-256}"
head -c 1000 "$root/big" >"$root/small"

fetch() { in_b timeout 120 "$B/tools/http_fetch" "$@"; }
same() { fetch -o "$TMP/got" "http://$IP_A:8080/$1" && cmp "$TMP/got" "$root/$1"; }

attach || die "attach"
start_nginx "$root" 8080 || die "nginx does not start"
check "small file" same small
check "large file" same big
check "20 in a row" sh -c "for i in \$(seq 20); do
	nsenter --net=/run/netns/$NS_B '$B/tools/http_fetch' -o '$TMP/got' http://$IP_A:8080/small &&
	cmp '$TMP/got' '$root/small' || exit 1; done"
check "404 is reported" not fetch -o "$TMP/got" "http://$IP_A:8080/nosuch"
refused() { fetch -o "$TMP/got" "http://$IP_A:9/x" 2>&1 | grep -qi 'refused'; }
check "nobody listens: connection refused" refused
check "no host there: reported as unreachable" \
	sh -c "nsenter --net=/run/netns/$NS_B timeout 20 '$B/tools/http_fetch' http://10.77.0.99/ 2>&1 |
	grep -qiE 'no route|unreachable'"
check "the data went directly" [ "$(xdp flow_direct)" -gt 100 ]
check "no flow is left but those in TIME_WAIT" wait_for 10 flows_live 0
check "detach" detach
