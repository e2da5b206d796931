#!/bin/bash
# apt (2.6.1 and 3.3.5): two archives have other packages under one version. Whether apt takes them for two depends on what the entries say beside
# Version: with the relations in another order "upgrade" goes from 1.0 to 1.0, to the archive that sources.list names first, and stays there; with the
# same relations and size it is one version, whatever the SHA-256, and what is installed is never replaced.
. "${0%/*}/lib.sh"
fetch bookworm apt=2.6.1 libapt-pkg6.0=2.6.1
fetch sid apt=3.3.5 libapt-pkg7.0=3.3.5 libc6=2.43-7 libgcc-s1 libstdc++6 libssl3t64
# entry RELATIONS: what an index and dpkg's status have of p
entry() { printf 'Package: p\nVersion: 1.0\nArchitecture: all\nMaintainer: A Dev <dev@example.org>\nInstalled-Size: 10\nDepends: %s\n' "$1"; }
# archive NAME RELATIONS
archive() {
	mkdir -p "$1"
	{
		entry "$2"
		printf 'Filename: p_1.0_all.deb\nSize: 1\nSHA256: %s\nDescription: test\n' "$(sha256sum <<<"$1" | cut -d ' ' -f 1)"
	} >"$1/Packages"
	printf 'Origin: %s\nDate: Wed, 01 Jan 2025 10:00:00 UTC\nSHA256:\n %s %s Packages\n' "$1" "$(sha256sum <"$1/Packages" | cut -d ' ' -f 1)" \
		"$(stat -c %s "$1/Packages")" >"$1/Release"
}
# chosen SUITE FIRST SECOND INSTALLED: the archive that "upgrade" takes p from, or "none"
chosen() {
	local own=$tmp/$1-apt name
	rm -rf "$own/state" "$own/cache"
	mkdir -p "$own"/{state/lists/partial,cache/archives/partial}
	{
		for name in a b; do
			printf 'Package: %s\nStatus: install ok installed\nVersion: 1\nArchitecture: all\nMaintainer: A Dev <dev@example.org>\nDescription: test\n\n' "$name"
		done
		entry "$(sed -n 's/^Depends: //p' "$4/Packages")"
		printf 'Status: install ok installed\nDescription: test\n'
	} >"$own/state/status"
	printf 'deb [trusted=yes] file:%s ./\n' "$tmp/$2" "$tmp/$3" >"$own/etc/sources.list"
	local apt=("$own/apt-get" -q -q -o Dir::Etc="$own/etc" -o Dir::State="$own/state" -o Dir::State::status="$own/state/status" -o Dir::Cache="$own/cache"
		-o Dir::Bin::methods="$own/methods" -o APT::Sandbox::User=root -o Acquire::Languages=none -o APT::Architecture=amd64)
	"${apt[@]}" update >said 2>&1 || changed "$1: no update: $(tail -n 1 said)"
	# --print-uris names the file that would be fetched.
	"${apt[@]}" --print-uris --yes upgrade >said 2>&1 || changed "$1: no upgrade: $(tail -n 1 said)"
	sed -n "s|^'file:$tmp/\([a-z]*\)/.*|\1|p" said | grep . || echo none
}
for suite in bookworm sid; do
	apt_of "$suite" apt-get
	archive one 'a, b'
	archive two 'b, a'
	for first in one two; do
		[[ $first = one ]] && second=two || second=one
		[[ $(chosen "$suite" "$first" "$second" "$first") = none ]] || changed "$suite: what comes from the first archive is replaced"
		[[ $(chosen "$suite" "$first" "$second" "$second") = "$first" ]] || changed "$suite: what comes from the second archive stays"
	done
	seen "$suite: relations in another order: upgrade goes from 1.0 to 1.0 of the archive that is named first, and then stays"
	archive two 'a, b'
	cmp -s one/Packages two/Packages && changed "the archives have one SHA-256"
	for first in one two; do
		[[ $first = one ]] && second=two || second=one
		for installed in one two; do
			[[ $(chosen "$suite" "$first" "$second" "$installed") = none ]] || changed "$suite: another SHA-256 is another version"
		done
	done
	seen "$suite: the same relations and size: one version, whatever the SHA-256, and no upgrade"
done
