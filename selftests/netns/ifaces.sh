#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# One daemon on three interfaces, one of them with two queues: each connection is answered over the
# interface that it came in by, and connect() goes out by the one that the route names.
#
#   $NS_A  eth0 10.77.0.1/24 ──── veth ──────────── eth0 10.77.0.2/24  $NS_B ◄─┐
#          eth1 10.78.0.1/24 ──── veth, 2 queues ── eth1 10.78.0.2/24       ◄─┼─ one daemon
#                                                   lo   127.0.0.1/8        ◄─┘

. "$(dirname "$0")/../lib.sh"
setup
ip -n "$NS_A" link add eth1 numrxqueues 2 numtxqueues 2 type veth peer name eth1 \
	numrxqueues 2 numtxqueues 2 netns "$NS_B" || die "no second veth pair"
ip -n "$NS_A" addr add 10.78.0.1/24 dev eth1
ip -n "$NS_B" addr add 10.78.0.2/24 dev eth1
ip -n "$NS_A" link set eth1 up
ip -n "$NS_B" link set eth1 up
wait_for 5 in_a ping -q -c 1 -W 1 10.78.0.2 || die "the second pair does not carry packets"
root=$TMP/root
mkdir "$root"
random_file "$root/big" "${BIG_MB:-64}"
head -c 1000 "$root/big" >"$root/small"
got() { "${@:2}" -sS --noproxy '*' -o "$TMP/got" "$1" && cmp "$TMP/got" "$root/${1##*/}"; }
packets() { ip -n "$NS_A" -j -s link show "$1" | jq '.[0].stats64.rx.packets'; }
# over IFNAME COMMAND...: it works, and that interface of the other end has received much of it
over() {
	local before
	before=$(packets "$1")
	"${@:2}" && [ $(($(packets "$1") - before)) -gt 20 ]
}

check "attach" attach eth1 lo || die "attach"
check "three interfaces" status_is '.interfaces | keys == ["eth0", "eth1", "lo"]'
check "with four queues" status_is '[.interfaces[].queues] == [1, 2, 1]'
check "list names them" sh -c "'$TANDEM' list | grep -q '$TD *eth0 eth1 lo '"
check "detach by an interface's name is possible: it is unique" sh -c "'$TANDEM' status eth1 --json | jq -e '.name == \"$TD\"'"
serve_on "$TMP/server" "$B/tools/http_server" --port 80 --root "$root" || die "no server"
server=$PID
check "eth0: large" over eth0 got http://10.77.0.2/big in_a curl
check "eth1: large" over eth1 got http://10.78.0.2/big in_a curl
check "lo: large" got http://127.0.0.1/big in_b curl
check "eth0's address over lo" got http://10.77.0.2/big in_b curl
check "eth1's address over lo" got http://10.78.0.2/big in_b curl
for addr in 10.77.0.2 10.78.0.2; do
	check "$addr: 100 connections at once" sh -c "seq 100 | xargs -P 20 -I @ nsenter --net=/run/netns/$NS_A \
		curl -sS --noproxy '*' -o /dev/null -w '%{http_code} %{size_download}\n' http://$addr/small | sort | uniq -c |
		grep -qE '^ *100 200 1000$'"
done
# Over all at once, in both directions, while addresses of the one are in use over the other (weak host).
check "all at once" sh -c "
	for u in 10.77.0.2 10.78.0.2; do
		nsenter --net=/run/netns/$NS_A curl -sS --noproxy '*' http://\$u/big | cmp - '$root/big' & p=\"\$p \$!\"
	done
	nsenter --net=/run/netns/$NS_B curl -sS --noproxy '*' http://127.0.0.1/big | cmp - '$root/big' & p=\"\$p \$!\"
	for i in \$p; do wait \$i || exit 1; done"

nginx_conf "$root" "8080" on >"$TMP/nginx.conf"
start_a nginx -e "$TMP/nginx.log" -c "$TMP/nginx.conf"
wait_for 10 in_a curl -s -o /dev/null http://127.0.0.1:8080/ || die "nginx does not start"
fetch() { in_b timeout 60 "$B/tools/http_fetch" -o "$TMP/got" "http://$1" && cmp "$TMP/got" "$root/big"; }
run_fetch() { in_b timeout 60 "$TANDEM" run --on "$TD" -- curl -sS --noproxy '*' "http://$1" | cmp - "$root/big"; }
check "connect() over eth0" over eth0 fetch 10.77.0.1:8080/big
check "connect() over eth1" over eth1 fetch 10.78.0.1:8080/big
check "a program run on tandem: over eth0" over eth0 run_fetch 10.77.0.1:8080/big
check "a program run on tandem: over eth1" over eth1 run_fetch 10.78.0.1:8080/big

# ---- changes of one interface ----

ip -n "$NS_B" link set eth1 mtu 1300
check "the MTU of eth1 has changed" wait_for 5 status_is '.interfaces.eth1.mtu == 1300 and .interfaces.eth0.mtu == 1500'
check "eth1 after that" got http://10.78.0.2/big in_a curl
ip -n "$NS_B" addr add 10.78.0.3/24 dev eth1
check "a new address of eth1" wait_for 5 status_is '.addresses | index("10.78.0.3") != null'
check "is served" got http://10.78.0.3/small in_a curl
ip -n "$NS_B" addr add 10.78.0.3/32 dev lo
check "lo's route to it" in_b ping -q -c 1 -W 1 10.78.0.3
ip -n "$NS_B" addr del 10.78.0.3/24 dev eth1
ip -n "$NS_B" link set eth1 mtu 1301 # once that is known, so is what was before it
check "an address that lo has as well stays when eth1 loses it" wait_for 5 status_is \
	'.interfaces.eth1.mtu == 1301 and (.addresses | index("10.78.0.3") != null)'
check "and is served" got http://10.78.0.3/small in_a curl
ip -n "$NS_B" addr del 10.78.0.3/32 dev lo
check "and goes with lo's" wait_for 5 status_is '.addresses | index("10.78.0.3") == null'

check "no flow is left but those in TIME_WAIT" wait_for 10 flows_live 0
check "no frame is lost" wait_for 15 status_is '.frames | .bad == 0 and .injected == 0'
stop "$server"
check "detach" detach
for i in eth0 eth1 lo; do
	check "$i has no XDP program" sh -c "! ip -n '$NS_B' -d link show $i | grep -q xdp"
done
