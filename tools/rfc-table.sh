#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# From each clause of the RFCs (selftests/rfc/clauses.tsv) to the tests that show it. Prints
# docs/RFC.md; --missing lists clauses without a test, and tests that name an unknown clause.
#
# A test names its clauses in a comment before or in it: "RFC 9293 MUST-7, MUST-64; RFC 5961 §3.2/1".
# In C the comment belongs to the function test_* that it stands in or before, in a script or a
# program of selftests/app to that.
set -u
cd "$(dirname "$0")/.." || exit 1

annotations() { # lines: RFC clause test file
	# shellcheck disable=SC2046 # names without blanks
	awk '
	function note(line,	rfc, part, n, i, c) {
		while (match(line, /RFC [0-9]+ (MUST-[0-9]+|§[0-9.]+\/[0-9]+)((, |,)(MUST-[0-9]+|§[0-9.]+\/[0-9]+))*/)) {
			part = substr(line, RSTART, RLENGTH)
			line = substr(line, RSTART + RLENGTH)
			split(part, rfc, " ")
			sub(/^RFC [0-9]+ /, "", part)
			n = split(part, c, /, ?/)
			for (i = 1; i <= n; i++)
				if (script || test)
					print rfc[2], c[i], script ? base : test, FILENAME
				else
					waiting[++w] = rfc[2] " " c[i]
		}
	}
	FNR == 1 {
		script = FILENAME ~ /\.sh$|\/app\//
		base = FILENAME
		sub(/.*\//, "", base)
		test = ""
		w = 0
	}
	/^static void test_/ {
		test = $3
		sub(/\(.*/, "", test)
		for (i = 1; i <= w; i++)
			print waiting[i], test, FILENAME
		w = 0
	}
	/RFC / { note($0) }
	/^}/ { test = ""; w = 0 }' $(find selftests -name '*.c' -o -name '*.sh' | LC_ALL=C sort) | LC_ALL=C sort -u
}

if [ "${1-}" = --missing ]; then
	annotations | awk -F'\t' '
	FILENAME == "-" { split($0, f, " "); seen[f[1] " " f[2]] = f[3]; next }
	/^#/ { next }
	{ known[$1 " " $2] = 1
	  if (!(($1 " " $2) in seen) && $5 == "") print "RFC " $1 " " $2 ": no test" }
	END { for (k in seen) if (!(k in known)) print "RFC " k ": unknown, named by " seen[k] }' \
		- selftests/rfc/clauses.tsv
	exit
fi

cat <<'END'
# RFC clauses and their tests

Made by `tools/rfc-table.sh` from `selftests/rfc/clauses.tsv` and the comments of the tests; `make check`
fails where it is not up to date, or a clause has no test. RFC 9293's clauses have the numbers of
its appendix B, those of other RFCs a section and a number of ours.
END
annotations | awk -F'\t' '
FILENAME == "-" {
	split($0, f, " ")
	k = f[1] " " f[2]
	file = f[4]
	sub(/^selftests\//, "", file)
	tests[k] = tests[k] (tests[k] == "" ? "" : "<br>") "`" f[3] "`" (f[3] !~ /^test_/ ? "" : " (" file ")")
	next
}
/^#/ { next }
$1 != rfc {
	rfc = $1
	printf "\n## RFC %s\n\n| clause | section | what is asked for | tests |\n|---|---|---|---|\n", rfc
}
{
	t = tests[$1 " " $2]
	if ($5 != "")
		t = t (t == "" ? "" : "<br>") "not applicable: " $5
	printf "| %s | %s | %s | %s |\n", $2, $3, $4, t
}' - selftests/rfc/clauses.tsv
