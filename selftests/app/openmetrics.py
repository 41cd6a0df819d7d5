#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
# Reads OpenMetrics text (version 1.0) as a strict parser does, and prints "FAMILY SAMPLES" lines.
import re
import sys

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABELS = r'\{[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"(?:,[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*")*\}'
SAMPLE = re.compile(rf"({NAME})({LABELS})? ([0-9]+(?:\.[0-9]+)?)")
text = sys.stdin.read()
assert text.endswith("# EOF\n"), "does not end with # EOF"
types, counts, seen, family = {}, {}, set(), None
for line in text[:-len("# EOF\n")].split("\n")[:-1]:
    if m := re.fullmatch(rf"# TYPE ({NAME}) (counter|gauge)", line):
        family = m[1]
        assert family not in types, f"{family} is there twice"
        assert not family.endswith("_total"), f"{family} ends with _total"
        types[family], counts[family] = m[2], 0
    elif m := re.fullmatch(rf"# HELP ({NAME}) .+", line):
        assert m[1] == family, f"help for {m[1]} within {family}"
    else:
        m = SAMPLE.fullmatch(line)
        assert m, f"no sample: {line}"
        want = family + ("_total" if types[family] == "counter" else "")
        assert m[1] == want, f"{m[1]} within {family}, a {types[family]}"
        assert (m[1], m[2]) not in seen, f"twice: {line}"
        seen.add((m[1], m[2]))
        counts[family] += 1
for f, n in counts.items():
    assert n, f"{f} has no sample"
    print(f, n)
