#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# Runs what was built and counts. Usage: test.sh [-b BUILDDIR] SUITE[/NAME]...
#	check  core without I/O, docs, install   unit  cmocka programs, one for each source file
#	sim    two stacks, a bad link        bpf   the XDP program by BPF_PROG_TEST_RUN (root)
#	netns  real traffic between network namespaces (root)
#	demo   what make demo shows, with a smaller file (root)
#	asan   unit and a shorter sim, built with ASan and UBSan in build-asan
#	fuzz   each fuzz target: its corpus, then FUZZ_SECONDS (20) of new inputs; built in build-fuzz
# Ends with "N passed, N failed, N skipped". The whole output of each program is in BUILDDIR/logs.
# What needs root says so without it and is counted as skipped. SIM_RUNS: simulated runs (10000).
set -u
cd "$(dirname "$0")/.." || exit 1
B=build
[ "${1-}" = -b ] && { B=$2; shift 2; }
passed=0 failed=0 skipped=0
: "${SIM_RUNS:=10000}" "${FUZZ_SECONDS:=20}"
export B

# One line for each program: what was counted, how long it took, where to read on.
report() { # name passed failed skipped seconds log
	local verdict=ok
	[ "$3" = 0 ] || verdict=FAILED
	passed=$((passed + $2)) failed=$((failed + $3)) skipped=$((skipped + $4))
	printf '%-6s %-28s %4d passed, %d failed, %d skipped  %4ds\n' "$verdict" "$1" "$2" "$3" "$4" "$5"
	if [ "$3" != 0 ]; then
		# What failed and why, else the end.
		grep -E -A3 '^(not ok|  \[FAILED|FAIL|\[  (ERROR|FAILED) )|ERROR: |runtime error' "$6" >"$6.failed" ||
			tail -n 30 "$6" >"$6.failed"
		head -n 40 "$6.failed" | sed 's/^/       | /'
		echo "       | whole output: $6"
	fi
}

# Counts of cmocka's summary lines, of lines "ok ...", "not ok ...", "skip ...", "NAME: SKIPPED:
# ..." or "N passed, N failed".
count() { # log -> passed failed skipped
	awk '/^\[  PASSED  \] [0-9]+ test/ { p += $4 }
	     /^\[  FAILED  \] [0-9]+ test/ { f += $4 }
	     /^\[  SKIPPED \] [0-9]+ test/ { s += $4 }
	     /^[0-9]+ passed, [0-9]+ failed$/ { p += $1; f += $3 }
	     /: SKIPPED: / { s++ }
	     /^(ok|  \[ok\]) / { p++ } /^(not ok|  \[FAILED\]) / { f++ } /^skip / { s++ }
	     END { print p + 0, f + 0, s + 0 }' "$1"
}

# In two steps, so that several can be under way at once: execute leaves exit status and seconds
# beside the log, judge counts. soon starts in the background, as soon as fewer run than there are CPUs;
# settle waits for all and reports those that are over, in their order.
log_of() { echo "$B/logs/${1//\//-}.log"; }
execute() { # name seconds-allowed command...
	local limit=$2 log start=$SECONDS rc
	log=$(log_of "$1")
	shift 2
	mkdir -p "$B/logs"
	timeout -k 30 "$limit" "$@" >"$log" 2>&1 </dev/null
	rc=$?
	[ $rc != 124 ] || echo "(ended after $limit s)" >>"$log"
	echo "$rc $((SECONDS - start))" >"$log.rc.new"
	mv "$log.rc.new" "$log.rc"
}
judge() { # name log
	local log=$2 rc seconds p f s
	read -r rc seconds <"$log.rc"
	read -r p f s <<<"$(count "$log")"
	# A program that died, or that counted nothing, has failed.
	if [ "$rc" != 0 ] && [ "$f" = 0 ]; then
		echo "(exit status $rc)" >>"$log"
		f=1
	elif [ "$rc" = 0 ] && [ $((p + f + s)) = 0 ]; then
		echo "(no test was counted)" >>"$log"
		f=1
	fi
	report "$1" "$p" "$f" "$s" "$seconds" "$log"
}
names=() logs=() # started, and not reported yet
report_ended() {
	while [ ${#names[@]} -gt 0 ] && [ -e "${logs[0]}.rc" ]; do
		judge "${names[0]}" "${logs[0]}"
		names=("${names[@]:1}") logs=("${logs[@]:1}")
	done
}
soon() { # name seconds-allowed command...
	while [ "$(jobs -rp | wc -l)" -ge "$(nproc)" ]; do
		wait -n
		report_ended
	done
	names+=("$1") logs+=("$(log_of "$1")")
	rm -f "${logs[-1]}.rc"
	execute "$@" &
}
settle() {
	wait
	report_ended
}
run() { # name seconds-allowed command...
	settle
	soon "$@"
	settle
}

unit() {
	local t
	for t in selftests/unit/test_*.c; do
		t=$(basename "$t" .c)
		soon "$1unit/$t" 300 "$B/selftests/unit/$t"
	done
}

sim() { # prefix runs
	local half=$((($2 + 1) / 2))
	soon "$1sim-perf" 300 "$B/selftests/sim/sim" --perf
	soon "$1sim/1" 900 "$B/selftests/sim/sim" --runs $half
	soon "$1sim/2" 900 "$B/selftests/sim/sim" --runs $half --seed $((half + 1))
}

suite_check() {
	soon check/core 60 tools/check-core.sh "$B"/user/core/*.o
	soon check/tree 120 tools/check-tree.sh "$B"
	soon check/calls 60 tools/check-calls.sh "$B/libtandem-preload.so"
}
suite_unit() { unit ""; }
suite_sim() { sim "" "$SIM_RUNS"; }
suite_asan() {
	local B=build-asan
	sim asan/ $((SIM_RUNS / 10))
	unit asan/
}

suite_fuzz() {
	local B=build-fuzz t
	for t in selftests/fuzz/fuzz_*.c; do
		t=$(basename "$t" .c)
		soon "fuzz/${t#fuzz_}" $((FUZZ_SECONDS + 120)) selftests/fuzz/run.sh "${t#fuzz_}" "$FUZZ_SECONDS"
	done
}

suite_demo() { run demo 300 env BIG_MB=128 tools/demo.sh; }

suite_bpf() {
	local t
	for t in selftests/bpf/test_*.c; do
		t=$(basename "$t" .c)
		run "bpf/$t" 300 "$B/selftests/bpf/$t"
	done
}

# Each has namespaces of its own, and waits more than it computes: several at a time, those that
# take long first. A flood wants all CPUs for itself.
suite_netns() {
	local t all=(cc programs kill cycles procs)
	for t in selftests/netns/*.sh; do
		t=$(basename "$t" .sh)
		case " floods ${all[*]} " in *" $t "*) ;; *) all+=("$t") ;; esac
	done
	run netns/floods 600 bash selftests/netns/floods.sh
	for t in "${all[@]}"; do
		soon "netns/$t" 600 bash "selftests/netns/$t.sh"
	done
}

# The program of one test of a suite: unit/test_ip, bpf/test_echo, netns/listen.
program() { # SUITE/NAME
	case $1 in
	unit/* | bpf/*) echo "$B/selftests/$1" ;;
	netns/*) echo "selftests/$1.sh" ;;
	esac
}

for suite in "$@"; do
	case $suite in
	*/*) [ -e "$(program "$suite")" ] ;;
	*) [ "$(type -t "suite_$suite")" = function ] ;;
	esac || {
		echo "test.sh: there is no $suite; one test is unit/test_ip or netns/listen, after make tests-build" >&2
		exit 2
	}
done
for suite in "$@"; do
	case $suite in
	netns/*) run "$suite" 600 bash "$(program "$suite")" ;;
	*/*) run "$suite" 300 "$(program "$suite")" ;;
	*) "suite_$suite" ;;
	esac
done
settle
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
