#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# One fuzz target: run.sh TARGET SECONDS. First its corpus, then new inputs for so long; what is worth
# keeping goes to build-fuzz/corpus/TARGET, an input that fails to build-fuzz/crashes.
# run.sh --merge: makes the corpus in the repository the smallest one that covers what is covered
# by it and by what was found.
set -u
cd "$(dirname "$0")/../.." || exit 1
B=build-fuzz
export ASAN_OPTIONS=quarantine_size_mb=8

max_len() {
	case $1 in
	options) echo 120 ;;
	ip) echo 600 ;;
	config) echo 1200 ;;
	xdp) echo 400 ;;
	*) echo 200 ;;
	esac
}

merge() {
	local t old kept
	for t in selftests/fuzz/fuzz_*.c; do
		t=$(basename "$t" .c) t=${t#fuzz_}
		old=selftests/fuzz/corpus/$t kept=$B/merged/$t
		rm -rf "$kept" && mkdir -p "$kept" "$old" "$B/corpus/$t"
		# Without counters of loops: an input for each edge, not for each number of rounds.
		"$B/selftests/fuzz/fuzz_$t" -set_cover_merge=1 -use_counters=0 -max_len="$(max_len "$t")" "$kept" \
			"$old" "$B/corpus/$t" >"$B/merged/$t.log" 2>&1 || { tail "$B/merged/$t.log"; exit 1; }
		rm -rf "$old" && mv "$kept" "$old"
		echo "$t: $(find "$old" -type f | wc -l) inputs, $(cat "$old"/* | wc -c) bytes"
	done
}

say() { # exit-status what
	case $1 in
	0) echo "ok $2" ;;
	4) echo "skip $2" ;; # daemon_world.h
	*) echo "not ok $2" ;;
	esac
}

[ "${1-}" = --merge ] && { merge; exit; }
t=$1 corpus=selftests/fuzz/corpus/$1
args=(-timeout=10 -rss_limit_mb=2048 "-max_len=$(max_len "$t")" "-max_total_time=$2"
	-print_final_stats=1 -verbosity=0 "-artifact_prefix=$B/crashes/$t-")
[ -e "selftests/fuzz/dict/$t.dict" ] && args+=("-dict=selftests/fuzz/dict/$t.dict")
mkdir -p "$B/corpus/$t" "$B/crashes"
# Of TCP all pairs of a state and a kind of segment must be met by the corpus.
FUZZ_STATES=1 "$B/selftests/fuzz/fuzz_$t" -runs=0 "$corpus"
say $? "$t: corpus"
"$B/selftests/fuzz/fuzz_$t" "${args[@]}" "$B/corpus/$t" "$corpus"
say $? "$t: $2 seconds"
