#!/bin/bash
# dpkg-checkbuilddeps (1.21.23 and 1.23.11) and "apt-get build-dep" (2.6.1 and 3.3.5) do not agree on qualified build dependencies, in a native build
# too: "tool:native" of a package of "Multi-Arch: foreign" and "data:amd64" of one of "Architecture: all" are met for apt, so that the build fails
# later, in dpkg-checkbuilddeps; "virtual:any", which a package without "Multi-Arch: allowed" provides, is met for dpkg-checkbuilddeps alone.
. "${0%/*}/lib.sh"
fetch bookworm dpkg=1.21.23 dpkg-dev=1.21.23 libdpkg-perl=1.21.23 apt=2.6.1 libapt-pkg6.0=2.6.1
fetch sid dpkg=1.23.11 dpkg-dev=1.23.11 libdpkg-perl=1.23.11 apt=3.3.5 libapt-pkg7.0=3.3.5 libc6=2.43-7 libgcc-s1 libstdc++6 libssl3t64
package
apt_bookworm() { LD_LIBRARY_PATH=$tmp/bookworm/usr/lib/x86_64-linux-gnu "$tmp/bookworm/usr/bin/apt-get" "$@"; }
apt_sid() { elf sid apt-get "$@"; }
mkdir -p etc/{apt.conf.d,preferences.d} state/lists/partial cache/archives/partial dpkg
installed() { # NAME ARCHITECTURE FIELD
	printf 'Package: %s\nStatus: install ok installed\nMaintainer: A Dev <dev@example.org>\nVersion: 1.0\nArchitecture: %s\n%s\nDescription: test\n\n' "$@"
}
{
	installed build-essential all 'Multi-Arch: no'
	installed tool amd64 'Multi-Arch: foreign'
	installed data all 'Multi-Arch: no'
	installed provider amd64 'Provides: virtual'
} >dpkg/status
: >etc/sources.list
cat >apt.conf <<END
APT::Architecture "amd64";
APT::Architectures { "amd64"; };
Dir::Etc "$tmp/etc";
Dir::State "$tmp/state";
Dir::State::status "$tmp/dpkg/status";
Dir::Cache "$tmp/cache";
END
export APT_CONFIG=$tmp/apt.conf
for case in tool:met:met tool:native:unmet:met data:met:met data:amd64:unmet:met virtual:met:met virtual:any:met:unmet; do
	dependency=${case%:*:*} expected=${case#"$dependency":}
	sed -i '/^Build-Depends/d; /^Standards/i Build-Depends: '"$dependency" p-1.0/debian/control
	for suite in bookworm sid; do
		PERL5LIB=$tmp/$suite/usr/share/perl5 DPKG_DATADIR=$tmp/$suite/usr/share/dpkg perl "$tmp/$suite/usr/bin/dpkg-checkbuilddeps" \
			--admindir="$tmp/dpkg" -a amd64 -I p-1.0/debian/control >said 2>&1 && dpkg=met || dpkg=unmet
		[[ $dpkg = met ]] || grep -q "nmet build dependencies: $dependency\$" said || changed "$suite: dpkg-checkbuilddeps: $(tail -n 1 said)"
		"apt_$suite" -q -s build-dep ./p-1.0 >said 2>&1 && apt=met || apt=unmet
		[[ $apt = met ]] || grep -qE "builddeps:.*$dependency" said || changed "$suite: apt: $(cat said)"
		[[ $dpkg:$apt = "$expected" ]] || changed "$suite: $dependency: dpkg-checkbuilddeps: $dpkg, apt: $apt"
		seen "$suite: Build-Depends: $dependency: $dpkg for dpkg-checkbuilddeps, $apt for apt-get build-dep"
	done
done
