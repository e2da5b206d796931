#!/bin/bash
# "gbp pq export" (git-buildpackage 0.9.30) writes a commit that adds an empty file, or empties one, as a patch that says so by git's headers.
# dpkg-source (1.21.23 and 1.23.11) calls patch(1) with -E (2.7.6), which removes the new file as well ("new file mode 100644" and all). So the
# patch queue has files that the source package has not, and "gbp pq import" brings them back; no patch can add an empty __init__.py, and nobody says a word.
. "${0%/*}/lib.sh"
fetch bookworm dpkg=1.21.23 dpkg-dev=1.21.23 libdpkg-perl=1.21.23 git-buildpackage=0.9.30
fetch sid dpkg=1.23.11 dpkg-dev=1.23.11 libdpkg-perl=1.23.11
export PYTHONPATH=$tmp/bookworm/usr/lib/python3/dist-packages
gbp() { python3 "$tmp/bookworm/usr/bin/gbp" "$@"; }
package
rm -rf p-1.0/debian/patches
cd p-1.0
git init -q -b main .
git add -A && git commit -q -m 'Upstream and debian'
gbp pq import >/dev/null 2>&1
: >README && : >__init__.py && git add -A
git commit -q -a -m 'Empty files'
gbp pq export >/dev/null 2>&1
git add -A && git commit -q -m 'A patch'
for file in README __init__.py; do
	[[ $(git cat-file -s "patch-queue/main:$file") == 0 ]] || changed "the patch queue has no empty $file"
done
seen "the patch queue has README and __init__.py, empty; the patch: $(grep -A 1 '^new file' debian/patches/*.patch | tr '\n' ' ')"
cd ..
for suite in bookworm sid; do
	git -C p-1.0 archive --prefix=p-1.0/ main | { rm -rf build && mkdir build && tar -C build -x; }
	cp p_1.0.orig.tar.gz build
	(cd build && dpkg_source "$suite" -b p-1.0 && dpkg_source "$suite" --no-check -x p_1.0-1.dsc unpacked) >said 2>&1 || changed "$suite: it fails: $(tail -n 1 said)"
	[[ ! -e build/unpacked/README && ! -e build/unpacked/__init__.py ]] || changed "$suite: the source package has the files"
	if grep -i 'warning' said; then changed "$suite: there is a warning"; fi
	seen "$suite: dpkg-source -b and -x exit 0 without a warning, and the unpacked source has neither"
done
cd p-1.0 && git checkout -q main && git branch -q -D patch-queue/main && gbp pq import >/dev/null 2>&1
[[ -e README && -e __init__.py ]] || changed 'gbp pq import removes them'
seen 'gbp pq import makes both of the same patch'
