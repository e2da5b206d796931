#!/bin/bash
# Upstreams such as kernel.org's sign the uncompressed tarball. mk-origtargz (devscripts 2.23.4+deb12u2), which uscan runs, names such a signature
# p_1.0.orig.tar.asc. dpkg-source (1.21.23 and 1.23.11) knows p_1.0.orig.tar.xz.asc only: it says that there is no upstream signature, and the .dsc goes
# without it. There is no name under which it could go, as the compressed bytes are not what is signed.
. "${0%/*}/lib.sh"
fetch bookworm dpkg=1.21.23 dpkg-dev=1.21.23 libdpkg-perl=1.21.23 devscripts=2.23.4+deb12u2
fetch sid dpkg=1.23.11 dpkg-dev=1.23.11 libdpkg-perl=1.23.11
export GNUPGHOME=$tmp/gnupg
mkdir -m 700 "$GNUPGHOME"
package
rm -rf p-1.0/debian/patches
gpg --batch --quiet --passphrase '' --quick-generate-key 'Up Stream <up@example.org>' ed25519 sign never 2>/dev/null
mkdir p-1.0/debian/upstream downloads
gpg --armor --export up@example.org >p-1.0/debian/upstream/signing-key.asc
zcat p_1.0.orig.tar.gz >downloads/p-1.0.tar && rm p_1.0.orig.tar.gz
gpg --batch --quiet --armor --detach-sign --output downloads/p-1.0.tar.asc downloads/p-1.0.tar
xz downloads/p-1.0.tar
PERL5LIB=$tmp/bookworm/usr/share/perl5 perl "$tmp/bookworm/usr/bin/mk-origtargz" --package p --version 1.0 --directory . --copy --signature 2 \
	--signature-file downloads/p-1.0.tar.asc downloads/p-1.0.tar.xz
[[ -e p_1.0.orig.tar.asc && ! -e p_1.0.orig.tar.xz.asc ]] || changed "mk-origtargz made $(echo p_1.0.orig*)"
seen "mk-origtargz made $(echo p_1.0.orig*)"
for suite in bookworm sid; do
	dpkg_source "$suite" -b p-1.0 >said 2>&1 || changed "$suite: it fails: $(tail -n 1 said)"
	grep -q 'upstream signing key but no upstream tarball signature' said || changed "$suite: no warning"
	if grep '\.asc' p_1.0-1.dsc; then changed "$suite: the .dsc has a signature"; fi
	seen "$suite: $(grep -o 'warning: upstream.*' said); the .dsc has no .asc"
done
