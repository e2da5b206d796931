#!/bin/bash
# dpkg-source 1.23.11 builds a package of 3.0 (native) whose version has a revision, with a warning; 1.22.22 refuses to, and 1.21.23 unpacks it.
# "gbp import-dsc" of git-buildpackage 0.9.30 takes it for a non-native one by its version: all of it, debian/ too, becomes "Upstream version 1.0"
# with the tag upstream/1.0, there is no commit and no tag of the Debian version, and it exits 0. 0.9.38 goes by the format and makes debian/1.0-1.
. "${0%/*}/lib.sh"
fetch bookworm dpkg=1.21.23 dpkg-dev=1.21.23 libdpkg-perl=1.21.23 git-buildpackage=0.9.30
fetch trixie dpkg=1.22.22 dpkg-dev=1.22.22 libdpkg-perl=1.22.22 git-buildpackage=0.9.38 python3-dateutil python3-six \
	python3.13-minimal libpython3.13-minimal libpython3.13-stdlib libc6 zlib1g libexpat1 libffi8 libssl3t64
fetch sid dpkg=1.23.11 dpkg-dev=1.23.11 libdpkg-perl=1.23.11
package
rm p_1.0.orig.tar.gz
echo '3.0 (native)' >p-1.0/debian/source/format
! dpkg_source trixie -b p-1.0 >said 2>&1 || changed 'trixie: a source package'
grep -q 'error: .*: native package version may not have a revision' said || changed "trixie: fails otherwise: $(tail -n 1 said)"
dpkg_source sid -b p-1.0 >said 2>&1 || changed "sid: no source package: $(tail -n 1 said)"
grep -q 'warning: native package version may not have a revision' said || changed 'sid: no warning'
seen "dpkg-source -b fails in trixie; in sid it exits 0, and says: $(grep 'warning' said)"
dpkg_source bookworm -x p_1.0-1.dsc out >said 2>&1 || changed "bookworm: dpkg-source -x fails: $(tail -n 1 said)"
gbp_bookworm() { PYTHONPATH=$tmp/bookworm/usr/lib/python3/dist-packages python3 "$tmp/bookworm/usr/bin/gbp" "$@"; }
gbp_trixie() {
	PYTHONHOME=$tmp/trixie/usr PYTHONPATH=$tmp/trixie/usr/lib/python3/dist-packages elf trixie python3.13 "$tmp/trixie/usr/bin/gbp" "$@"
}
for suite in bookworm trixie; do
	"gbp_$suite" import-dsc --allow-unauthenticated p_1.0-1.dsc "tree-$suite" >said 2>&1 || changed "$suite: the import fails: $(tail -n 1 said)"
	! grep -qi 'native\|revision' said || changed "$suite: it says something of it: $(grep -i 'native\|revision' said)"
	seen "$suite: gbp import-dsc exits 0; branches: $(git -C "tree-$suite" for-each-ref --format='%(refname:short)' refs/heads | xargs);" \
		"tags: $(git -C "tree-$suite" tag | xargs); commits: $(git -C "tree-$suite" log --all --format=%s | xargs)"
done
[[ $(git -C tree-bookworm tag) = upstream/1.0 && $(git -C tree-bookworm log --all --format=%s) = 'Import Upstream version 1.0' ]] ||
	changed 'bookworm: other tags or commits'
git -C tree-bookworm cat-file -e upstream/1.0:debian/control || changed 'bookworm: the upstream version has no debian/'
[[ $(git -C tree-trixie tag) = debian/1.0-1 ]] || changed 'trixie: other tags'
