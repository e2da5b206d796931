#!/bin/bash
# "dpkg-source --auto-commit -b" writes the time of the run into the patch that it makes, whatever SOURCE_DATE_EPOCH says: 1.21.23 the day
# (Last-Update), 1.23.11 the second (Date, and not as mail has it: "Nov, 28 2026"). So the same tree gives another source package each day, and now
# each second. A debian/source/local-patch-header, which never gets into the package, takes the header's place, and then the bytes stay.
. "${0%/*}/lib.sh"
fetch bookworm dpkg=1.21.23 dpkg-dev=1.21.23 libdpkg-perl=1.21.23
fetch sid dpkg=1.23.11 dpkg-dev=1.23.11 libdpkg-perl=1.23.11
package
rm -rf p-1.0/debian/patches
echo four >>p-1.0/file
cp -a p-1.0 tree
build() { # SUITE [HEADER]: the SHA-256 of the .debian.tar.xz; its patch is in the file made
	rm -rf p-1.0 && cp -a tree p-1.0
	[[ -z ${2:-} ]] || echo "$2" >p-1.0/debian/source/local-patch-header
	dpkg_source "$1" --auto-commit -b p-1.0 >said 2>&1 || changed "$1: it fails: $(tail -n 1 said)"
	tar -xJOf p_1.0-1.debian.tar.xz debian/patches/debian-changes-1.0-1 >made
	sha256sum <p_1.0-1.debian.tar.xz
}
build bookworm >/dev/null
day=$(sed -n 's/^Last-Update: //p' made)
[[ $day == "$(date -u +%F)" ]] || changed "bookworm: Last-Update is '$day'"
seen "bookworm: Last-Update: $day, with SOURCE_DATE_EPOCH=$SOURCE_DATE_EPOCH ($(date -u -d "@$SOURCE_DATE_EPOCH" +%F))"
one=$(build sid)
date=$(grep '^Date: ' made) || changed 'sid: the patch has no Date'
[[ $date =~ ^'Date: '[A-Z][a-z]+', '[0-9]+' '[0-9]{4}' ' ]] || changed "sid: $date"
sleep 1.1
two=$(build sid)
[[ $one != "$two" ]] || changed 'sid: a second later the bytes are the same'
seen "sid: '$date', and a second later '$(grep '^Date: ' made)' and another SHA-256"
for suite in bookworm sid; do
	one=$(build "$suite" 'Our changes')
	sleep 1.1
	[[ $one == "$(build "$suite" 'Our changes')" ]] || changed "$suite: local-patch-header does not help"
	if tar -tJf p_1.0-1.debian.tar.xz | grep local-patch-header; then changed "$suite: local-patch-header is in the package"; fi
	seen "$suite: with debian/source/local-patch-header the bytes stay, and it is not in the package"
done
