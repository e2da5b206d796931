#!/bin/bash
# A key behind the semicolon of a changelog's heading that has the name of a field replaces the field: dpkg-parsechangelog (1.21.23 and 1.23.11)
# warns of an unknown key and gives its value as the Version, exit 0. python3-debian (0.1.49) gives the version in the parentheses, as readers do.
. "${0%/*}/lib.sh"
fetch bookworm dpkg-dev=1.21.23 libdpkg-perl=1.21.23 python3-debian=0.1.49
fetch sid dpkg-dev=1.23.11 libdpkg-perl=1.23.11
package
sed -i '1s/$/, version=9.9-1/' p-1.0/debian/changelog
sed -n 1p p-1.0/debian/changelog
for suite in bookworm sid; do
	version=$(PERL5LIB=$tmp/$suite/usr/share/perl5 perl "$tmp/$suite/usr/bin/dpkg-parsechangelog" -l p-1.0/debian/changelog -S Version 2>said) ||
		changed "$suite: dpkg-parsechangelog fails"
	[ "$version" = 9.9-1 ] || changed "$suite: dpkg-parsechangelog says $version"
	grep -qi 'unknown key-value version' said || changed "$suite: no word of an unknown key"
	seen "$suite: dpkg-parsechangelog: exit 0, Version: $version"
done
version=$(PYTHONPATH=$tmp/bookworm/usr/lib/python3/dist-packages python3 -c '
import sys
from debian.changelog import Changelog
print(Changelog(open(sys.argv[1])).version)' p-1.0/debian/changelog)
[ "$version" = 1.0-1 ] || changed "python3-debian says $version"
seen "python3-debian: $version"
