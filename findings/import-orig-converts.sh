#!/bin/bash
# "gbp import-orig --pristine-tar" (git-buildpackage 0.9.30) lets git obey the .gitattributes of the tarball that it imports: with
# "*.txt text" CR LF become LF. The import exits 0; dpkg-source (1.21.23) then refuses the tree as changed, and it was never touched.
# "gbp setup-gitattributes" before the import keeps the bytes.
. "${0%/*}/lib.sh"
fetch bookworm dpkg=1.21.23 dpkg-dev=1.21.23 libdpkg-perl=1.21.23 git-buildpackage=0.9.30
package
mv p-1.0/debian .
printf 'one\r\ntwo\r\n' >p-1.0/dos.txt
echo '*.txt text' >p-1.0/.gitattributes
rm p_1.0.orig.tar.gz
tar -czf p_1.0.orig.tar.gz p-1.0
gbp() { PYTHONPATH=$tmp/bookworm/usr/lib/python3/dist-packages python3 "$tmp/bookworm/usr/bin/gbp" "$@"; }
for defused in '' yes; do
	rm -rf p-1.0 && mkdir p-1.0 && cd p-1.0
	git init -q -b main .
	[[ -z $defused ]] || gbp setup-gitattributes >/dev/null 2>&1
	gbp import-orig --no-interactive --no-symlink-orig --pristine-tar --upstream-version=1.0 --debian-branch=main ../p_1.0.orig.tar.gz >../said 2>&1 ||
		changed "the import fails: $(tail -n 1 ../said)"
	bytes=$(git cat-file blob main:dos.txt | od -A n -c | tr -s ' ')
	cp -a ../debian . && rm -rf .git
	cd ..
	dpkg_source bookworm -b p-1.0 >said 2>&1 && built=yes || built=
	if [[ $defused ]]; then
		[[ $built ]] || changed 'setup-gitattributes does not help'
		seen "after gbp setup-gitattributes:$bytes and dpkg-source -b exits 0"
	else
		[[ ! $built ]] || changed 'the tree is built'
		grep -q 'p-1.0/dos.txt' said || changed "dpkg-source fails otherwise: $(tail -n 1 said)"
		seen "the tarball has CR LF, the import made$bytes, and $(grep 'error: ' said | sed 's/, see.*//')"
	fi
done
