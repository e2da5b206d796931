#!/bin/bash
# Two versions that dpkg takes for equal, such as 1.0-1 and 0:1.0-1, are equal for python3-debian too (0.1.49 and 1.2.0), but their hashes differ:
# a set holds both, and a dict with the one as its key does not find the other, so that what == says depends on how one asks.
. "${0%/*}/lib.sh"
fetch bookworm python3-debian=0.1.49
fetch sid python3-debian=1.2.0
pairs=(1.0-1 0:1.0-1 1.0 1.0-0 1.0~ 1.0~0 1.0-1 1.0-01)
for ((i = 0; i < ${#pairs[@]}; i += 2)); do
	dpkg --compare-versions "${pairs[i]}" eq "${pairs[i + 1]}" || changed "dpkg: ${pairs[i]} and ${pairs[i + 1]} differ"
done
for suite in bookworm sid; do
	said=$(PYTHONPATH=$tmp/$suite/usr/lib/python3/dist-packages python3 -c '
import sys
from debian.debian_support import Version
texts = sys.argv[1:]
for one, two in zip(texts[::2], texts[1::2]):
    known = {Version(one): "known"}
    print(f"{one} == {two}: {Version(one) == Version(two)}, in a set: {len({Version(one), Version(two)})}, found by the other: {Version(two) in known}")
' "${pairs[@]}")
	[[ $(grep -c ': True, in a set: 2, found by the other: False$' <<<"$said") = 4 ]] || changed "$suite: $said"
	while read -r line; do seen "$suite: $line"; done <<<"$said"
done
