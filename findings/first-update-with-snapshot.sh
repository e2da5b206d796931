#!/bin/bash
# apt (3.0.4 and 3.3.5): "update --snapshot ID" on a machine that has no lists yet (a new container, say) exits 0, reads none of the snapshot, and warns of
# nothing, whether there is such a snapshot or not: only what an earlier update has read tells it where snapshots are. The same command once more reads
# it, or exits 100 where there is none.
. "${0%/*}/lib.sh"
fetch trixie apt=3.0.4 libapt-pkg7.0=3.0.4 libc6 libgcc-s1 libstdc++6 libssl3t64
fetch sid apt=3.3.5 libapt-pkg7.0=3.3.5 libc6=2.43-7 libgcc-s1 libstdc++6 libssl3t64
# release DIR VERSION: a suite that shows p in this version, and says where its earlier states are
release() {
	local dists=$1/dists/test
	mkdir -p "$dists/main/binary-all"
	printf 'Package: p\nVersion: %s\nArchitecture: all\nMaintainer: A Dev <dev@example.org>\nFilename: p.deb\nSize: 1\nSHA256: %064d\nDescription: test\n' \
		"$2" 0 >"$dists/main/binary-all/Packages"
	printf 'Origin: Test\nSuite: test\nCodename: test\nArchitectures: all\nComponents: main\nDate: Wed, 01 Jan 2025 10:00:00 UTC\nSnapshots: %s\nSHA256:\n %s %s %s\n' \
		"file:$tmp/repo/snapshot/@SNAPSHOTID@/" "$(sha256sum <"$dists/main/binary-all/Packages" | cut -d ' ' -f 1)" \
		"$(stat -c %s "$dists/main/binary-all/Packages")" main/binary-all/Packages >"$dists/Release"
}
release repo 2
release repo/snapshot/20250101T000000Z 1
for suite in trixie sid; do
	own=$tmp/$suite-apt
	apt_of "$suite" apt-get
	echo "deb [trusted=yes] file:$tmp/repo test main" >"$own/etc/sources.list"
	apt() {
		local program=$1
		shift
		"$own/$program" -q -o Dir::Etc="$own/etc" -o Dir::State="$own/state" -o Dir::State::status="$own/state/status" -o Dir::Cache="$own/cache" \
			-o Dir::Bin::methods="$own/methods" -o APT::Sandbox::User=root -o Acquire::Languages=none -o APT::Architecture=amd64 "$@"
	}
	for id in 20250101T000000Z none; do
		rm -rf "$own/state" "$own/cache"
		mkdir -p "$own"/{state/lists/partial,cache/archives/partial}
		: >"$own/state/status"
		codes=()
		for run in 1 2; do
			code=0
			apt apt-get update --snapshot "$id" >said 2>&1 || code=$?
			codes+=("$code")
			there=$(find "$own/state/lists" -name "*_snapshot_${id}_*Packages*" | wc -l)
			case $id-$run-$code-$there in
			none-1-0-0 | none-2-100-0 | 20250101T000000Z-1-0-0 | 20250101T000000Z-2-0-1) ;;
			*) changed "$suite: run $run with $id: exit $code, $there lists of it: $(tail -n 1 said)" ;;
			esac
			[[ $run != 1 ]] || ! grep -E '^[WEN]:|^(Warning|Error|Notice):' said || changed "$suite: it says something"
		done
		seen "$suite: update --snapshot $id on a machine without lists: exit ${codes[0]} and no list of it; once more: exit ${codes[1]}, $there"
	done
done
