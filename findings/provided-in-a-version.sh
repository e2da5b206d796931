#!/bin/bash
# aptly 1.5.0 does not know a versioned Provides: with "Provides: virtual (= 2.0)" in one package, "aptly snapshot verify" says that another's
# "virtual (>= 1.5)" and even a plain "virtual" are missing, exit 0, and "snapshot filter -with-deps" leaves the provider out. apt resolves both;
# so does aptly 1.6.1.
. "${0%/*}/lib.sh"
fetch bookworm aptly=1.5.0+ds1-1+b4 apt=2.6.1 libapt-pkg6.0=2.6.1
fetch trixie aptly=1.6.1+ds1-3 libc6
deb() { # NAME FIELD: a package with a field
	mkdir -p "$1/DEBIAN"
	printf 'Package: %s\nVersion: 1.0\nArchitecture: amd64\nMaintainer: A Dev <dev@example.org>\n%s\nDescription: test\n' "$1" "$2" >"$1/DEBIAN/control"
	dpkg-deb --root-owner-group -b "$1" "$1_1.0_amd64.deb" >/dev/null
}
deb provider 'Provides: virtual (= 2.0)'
deb needs-15 'Depends: virtual (>= 1.5)'
deb needs-any 'Depends: virtual'
: >status
for name in needs-15 needs-any; do
	LD_LIBRARY_PATH=$tmp/bookworm/usr/lib/x86_64-linux-gnu "$tmp/bookworm/usr/bin/apt-get" -q -q -s -o Dir::State::status="$tmp/status" -o Dir::Etc="$tmp" \
		-o Dir::State="$tmp" -o Dir::Cache="$tmp" -o APT::Architecture=amd64 -o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts=/dev/null \
		install "./${name}_1.0_amd64.deb" ./provider_1.0_amd64.deb >said 2>&1 || changed "apt does not resolve: $(tail -n 1 said)"
done
for suite in bookworm trixie; do
	printf '{"rootDir": "%s", "architectures": ["amd64"]}' "$tmp/aptly-$suite" >"$suite.conf"
	if [[ $suite = bookworm ]]; then aptly=("$tmp/bookworm/usr/bin/aptly" "-config=$tmp/$suite.conf"); else aptly=(elf trixie aptly "-config=$tmp/$suite.conf"); fi
	"${aptly[@]}" repo create all >/dev/null
	"${aptly[@]}" repo add all ./*.deb >/dev/null 2>&1
	"${aptly[@]}" snapshot create all from repo all >/dev/null
	"${aptly[@]}" snapshot verify all >said 2>&1 || changed "$suite: verify fails: $(tail -n 1 said)"
	verdict=$(grep -v '\.\.\.' said | xargs)
	"${aptly[@]}" snapshot filter -with-deps all some needs-any >/dev/null 2>&1
	packages=$("${aptly[@]}" snapshot show -with-packages some | sed -n 's/^  \(.*_1.0_amd64\)$/\1/p' | xargs)
	seen "$suite: snapshot verify exits 0: $verdict; filter -with-deps needs-any: $packages"
	case $suite in
	bookworm) [[ $verdict == 'Missing dependencies (2): '*virtual* && $packages = needs-any_1.0_amd64 ]] || changed "$suite: as above" ;;
	*) [[ $verdict = 'All dependencies are satisfied.' && $packages = 'needs-any_1.0_amd64 provider_1.0_amd64' ]] || changed "$suite: as above" ;;
	esac
done
