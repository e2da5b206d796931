#!/bin/bash
# "gbp import-dsc --pristine-tar" (git-buildpackage 0.9.30, and 0.9.43 has the same line) keeps the signature of the main tarball on the branch
# pristine-tar, and loses those of components' tarballs: it exits 0 without a word, so that the source package cannot be made again.
# "pristine-tar commit --signature-file" with the tree of the component keeps them.
. "${0%/*}/lib.sh"
fetch bookworm dpkg=1.21.23 dpkg-dev=1.21.23 libdpkg-perl=1.21.23 git-buildpackage=0.9.30 pristine-tar=1.50 xdelta3=3.0.11-dfsg-1.2 xdelta=1.1.3-10.4 libxdelta2=1.1.3-10.4
package
mkdir -p extra gnupg
chmod 700 gnupg
echo extra >extra/file
tar --owner=0 --group=0 --mtime=@1700000000 --sort=name -czf p_1.0.orig-extra.tar.gz extra
mv extra p-1.0/
export GNUPGHOME=$tmp/gnupg
gpg --batch --quiet --passphrase '' --quick-generate-key 'Up Stream <up@example.org>' ed25519 sign never 2>/dev/null
for file in *.orig*.tar.gz; do gpg --batch --quiet --armor --detach-sign "$file"; done
dpkg_source bookworm -b p-1.0 >said 2>&1 || changed "no source package: $(tail -n 1 said)"
count=$(sed -n '/^Files:/,$p' p_1.0-1.dsc | grep -c '\.asc$')
[[ $count = 2 ]] || changed "the .dsc has $count signatures"
export PATH=$tmp/bookworm/usr/bin:$PATH PERL5LIB=$tmp/bookworm/usr/share/perl5
PYTHONPATH=$tmp/bookworm/usr/lib/python3/dist-packages python3 "$tmp/bookworm/usr/bin/gbp" import-dsc --pristine-tar --allow-unauthenticated \
	p_1.0-1.dsc tree >said 2>&1 || changed "the import fails: $(tail -n 1 said)"
! grep -qi 'signature\|\.asc' said || changed "it says something of signatures: $(grep -i 'signature\|\.asc' said)"
kept=$(git -C tree ls-tree --name-only pristine-tar | grep 'asc$')
[[ $kept = p_1.0.orig.tar.gz.asc ]] || changed "kept: $kept"
seen "the .dsc names 2 signatures; after gbp import-dsc, exit 0, pristine-tar has: $(git -C tree ls-tree --name-only pristine-tar | xargs)"
cd tree
pristine-tar commit --signature-file ../p_1.0.orig-extra.tar.gz.asc ../p_1.0.orig-extra.tar.gz "$(git rev-parse upstream:extra)" >../said 2>&1 ||
	changed "pristine-tar commit fails: $(tail -n 1 ../said)"
git cat-file -e pristine-tar:p_1.0.orig-extra.tar.gz.asc || changed "pristine-tar keeps no component's signature either"
seen "pristine-tar commit --signature-file keeps it"
