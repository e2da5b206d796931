#!/bin/bash
# pristine-tar 1.50 with xz 5.8.4 (sid) makes a delta of a tarball of "xz --block-size=1MiB"; with xz 5.4.1 (bookworm) "pristine-tar checkout" of that
# delta says "successfully generated", exits 0, and the tarball has other bytes. The delta's own SHA-256 would tell; only "pristine-tar verify" looks.
. "${0%/*}/lib.sh"
fetch bookworm pristine-tar=1.50 xz-utils=5.4.1-1+deb12u1 liblzma5=5.4.1-1+deb12u1
fetch sid xz-utils=5.8.4-1 liblzma5=5.8.4-1 libc6=2.43-7 libgcc-s1
mkdir bin-bookworm bin-sid
printf '#!/bin/sh\nexec env LD_LIBRARY_PATH=%s %s "$@"\n' "$tmp/bookworm/lib/x86_64-linux-gnu" "$tmp/bookworm/usr/bin/xz" >bin-bookworm/xz
printf '#!/bin/sh\nexec %s --library-path %s %s "$@"\n' "$tmp/sid/usr/lib64/ld-linux-x86-64.so.2" "$tmp/sid/usr/lib/x86_64-linux-gnu" "$tmp/sid/usr/bin/xz" >bin-sid/xz
chmod +x bin-*/xz
with() { # SUITE ARGUMENT…: pristine-tar 1.50 with the xz of a suite
	local suite=$1
	shift
	PATH=$tmp/bin-$suite:$tmp/bookworm/usr/bin:$PATH PERL5LIB=$tmp/bookworm/usr/share/perl5 perl "$tmp/bookworm/usr/bin/pristine-tar" "$@"
}
for suite in bookworm sid; do "bin-$suite/xz" --version | head -n 1; done
mkdir p-1.0
seq 1 400000 >p-1.0/numbers
tar --owner=0 --group=0 --mtime=@1700000000 --format=gnu -c p-1.0 | bin-sid/xz --block-size=1MiB >p_1.0.orig.tar.xz
cd p-1.0
git init -q -b main . && git add -A && git commit -q -m Upstream
with sid commit ../p_1.0.orig.tar.xz main 2>&1 || changed 'no delta is made'
mkdir ../out
with bookworm checkout ../out/p_1.0.orig.tar.xz >../said 2>&1 || changed "checkout fails: $(cat ../said)"
if cmp -s ../p_1.0.orig.tar.xz ../out/p_1.0.orig.tar.xz; then changed 'the bytes are the same'; fi
seen "exit 0, '$(cat ../said)', and sha256 $(sha256sum <../out/p_1.0.orig.tar.xz | head -c 12)…, the delta says $(git show pristine-tar:p_1.0.orig.tar.xz.delta | tar -xzO sha256sum | head -c 12)…"
if with bookworm verify ../out/p_1.0.orig.tar.xz >../said 2>&1; then changed 'pristine-tar verify exits 0'; fi
seen "verify: $(sed 's/.*does/does/; s/expected.*//' ../said)"
