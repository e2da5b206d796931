#!/bin/bash
# apt (2.6.1, 3.0.4 and 3.3.5) updates and downloads from a repository by "file:", and cannot show a changelog when "Changelogs" in its Release is such
# a URL: it takes the file for fetched, and then misses its own copy, exit 100. A "copy:" URL of the same path works.
. "${0%/*}/lib.sh"
fetch bookworm apt=2.6.1 apt-utils=2.6.1 libapt-pkg6.0=2.6.1
fetch trixie apt=3.0.4 libapt-pkg7.0=3.0.4 libc6 libgcc-s1 libstdc++6 libssl3t64
fetch sid apt=3.3.5 libapt-pkg7.0=3.3.5 libc6=2.43-7 libgcc-s1 libstdc++6 libssl3t64
mkdir -p hello/DEBIAN repo/changelogs/h/hello
printf 'Package: hello\nVersion: 1.0\nArchitecture: all\nMaintainer: A Dev <dev@example.org>\nDescription: test\n' >hello/DEBIAN/control
dpkg-deb --root-owner-group -b hello repo/hello_1.0_all.deb >/dev/null
printf 'hello (1.0) unstable; urgency=medium\n\n  * Test.\n\n -- A Dev <dev@example.org>  Wed, 01 Jan 2025 10:00:00 +0000\n' >repo/changelogs/h/hello/hello_1.0_changelog
archive() { (cd repo && LD_LIBRARY_PATH=$tmp/bookworm/usr/lib/x86_64-linux-gnu "$tmp/bookworm/usr/bin/apt-ftparchive" "$@"); }
archive packages . >repo/Packages
for suite in bookworm trixie sid; do
	apt_of "$suite" apt-get
	mkdir -p "$suite-apt"/{state/lists/partial,cache/archives/partial}
	: >"$suite-apt/state/status"
	echo "deb [trusted=yes] file:$tmp/repo ./" >"$suite-apt/etc/sources.list"
done
for scheme in file copy; do
	printf 'Origin: Test\nCodename: test\nDate: Wed, 01 Jan 2025 10:00:00 UTC\nChangelogs: %s\nSHA256:\n %s %s Packages\n' \
		"$scheme:$tmp/repo/changelogs/@CHANGEPATH@_changelog" "$(sha256sum <repo/Packages | cut -d ' ' -f 1)" "$(stat -c %s repo/Packages)" >repo/Release
	for suite in bookworm trixie sid; do
		own=$tmp/$suite-apt
		apt=("$own/apt-get" -q -q -o Dir::Etc="$own/etc" -o Dir::State="$own/state" -o Dir::State::status="$own/state/status" -o Dir::Cache="$own/cache"
			-o Dir::Bin::methods="$own/methods" -o Dir::Log="$own" -o APT::Sandbox::User=root -o Acquire::Languages=none)
		rm -rf "$own/state/lists" && mkdir -p "$own/state/lists/partial" "$own/out"
		"${apt[@]}" update >said 2>&1 || changed "$suite: no update: $(tail -n 1 said)"
		(cd "$own/out" && "${apt[@]}" download hello) >said 2>&1 || changed "$suite: no download: $(tail -n 1 said)"
		cmp repo/hello_1.0_all.deb "$own/out/hello_1.0_all.deb" || changed "$suite: another .deb"
		code=0
		"${apt[@]}" changelog hello >said 2>&1 || code=$?
		case $scheme-$code in
		file-100) grep -q 'changelog: No such file' said || changed "$suite: fails otherwise: $(tail -n 1 said)" ;;
		copy-0) cmp said repo/changelogs/h/hello/hello_1.0_changelog || changed "$suite: another changelog" ;;
		*) changed "$suite: $scheme: exit $code: $(tail -n 1 said)" ;;
		esac
		seen "$suite: update and download by file: work; changelog by $scheme: exit $code, $(sed -n "1s|$tmp|…|g; 1s|apt-changelog-[^/]*|apt-changelog-…|; 1p" said)"
	done
done
