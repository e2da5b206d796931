#!/bin/bash
# A comma may end a list of dependencies in debian/control: dpkg-checkbuilddeps (1.21.23 and 1.23.11) takes "a, b," for two, and "wrap-and-sort -t" writes
# such a comma. python3-debian (0.1.49 and 1.2.0) gives three relations, the last one of a package without a name.
. "${0%/*}/lib.sh"
fetch bookworm dpkg=1.21.23 dpkg-dev=1.21.23 libdpkg-perl=1.21.23 python3-debian=0.1.49 python3-chardet
fetch sid dpkg=1.23.11 dpkg-dev=1.23.11 libdpkg-perl=1.23.11 python3-debian=1.2.0
package
sed -i '/^Standards/i Build-Depends: a, b,' p-1.0/debian/control
mkdir dpkg
: >dpkg/status
for suite in bookworm sid; do
	PERL5LIB=$tmp/$suite/usr/share/perl5 DPKG_DATADIR=$tmp/$suite/usr/share/dpkg perl "$tmp/$suite/usr/bin/dpkg-checkbuilddeps" \
		--admindir="$tmp/dpkg" -I p-1.0/debian/control >said 2>&1 && changed "$suite: nothing is missing"
	grep -qE 'nmet build dependencies: a b$' said || changed "$suite: dpkg-checkbuilddeps: $(tail -n 1 said)"
	names=$(PYTHONPATH=$tmp/$suite/usr/lib/python3/dist-packages:$tmp/bookworm/usr/lib/python3/dist-packages python3 -c '
import sys
from debian.deb822 import Sources
for source in Sources.iter_paragraphs(open(sys.argv[1]), use_apt_pkg=False):
    print([[r["name"] for r in group] for group in source.relations["build-depends"]])
    break' p-1.0/debian/control 2>/dev/null) || changed "$suite: python3-debian fails"
	[[ $names = "[['a'], ['b'], ['']]" ]] || changed "$suite: python3-debian: $names"
	seen "$suite: dpkg-checkbuilddeps: $(sed 's/.*: //' said); python3-debian: $names"
done
