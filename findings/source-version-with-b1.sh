#!/bin/bash
# dpkg-source (1.21.23 and 1.23.11) makes p_2.0+b1.dsc of the valid version 2.0+b1 without a word. The other tools of dpkg-dev take it for a
# rebuild of 2.0, which never was: dpkg-gencontrol writes "Source: p (2.0)" and ${source:Version} as 2.0, so that one package of the build depends
# on a version that the other does not have, and dpkg-genchanges fails for p_2.0.dsc, so that dpkg-buildpackage cannot make its .changes.
. "${0%/*}/lib.sh"
fetch bookworm dpkg=1.21.23 dpkg-dev=1.21.23 libdpkg-perl=1.21.23
fetch sid dpkg=1.23.11 dpkg-dev=1.23.11 libdpkg-perl=1.23.11
package
mv p-1.0 p-2.0
echo '3.0 (native)' >p-2.0/debian/source/format
sed -i '1s/1.0-1/2.0+b1/' p-2.0/debian/changelog
cat >p-2.0/debian/control <<'END'
Source: p
Section: misc
Priority: optional
Maintainer: A Dev <dev@example.org>
Standards-Version: 4.6.2

Package: p
Architecture: all
Depends: p-data (= ${source:Version})
Description: test
 Nothing.

Package: p-data
Architecture: all
Description: test data
 Nothing.
END
dev() { PERL5LIB=$tmp/$suite/usr/share/perl5 DPKG_DATADIR=$tmp/$suite/usr/share/dpkg perl "$tmp/$suite/usr/bin/$1" "${@:2}"; }
for suite in bookworm sid; do
	rm -f ./*.dsc ./*.deb p-2.0/debian/files
	dev dpkg-source -b p-2.0 >said 2>&1 || changed "$suite: no source package: $(tail -n 1 said)"
	! grep -q 'warning: .*version' said || changed "$suite: dpkg-source warns: $(grep warning said)"
	version=$(sed -n 's/^Version: //p' p_2.0+b1.dsc)
	cd p-2.0
	for name in p p-data; do
		mkdir -p "debian/$name/DEBIAN"
		dev dpkg-gencontrol "-p$name" "-Pdebian/$name" >../said 2>&1 || changed "$suite: dpkg-gencontrol fails: $(tail -n 1 ../said)"
		dpkg-deb --root-owner-group -b "debian/$name" .. >/dev/null
		rm -r "debian/$name"
	done
	full=0
	dev dpkg-genchanges -O../full.changes >../said 2>&1 || full=$?
	cd ..
	fields="$(dpkg-deb -f p_2.0+b1_all.deb Source), Depends: $(dpkg-deb -f p_2.0+b1_all.deb Depends)"
	data=$(dpkg-deb -f p-data_2.0+b1_all.deb Version)
	[[ $version = 2.0+b1 && $data = 2.0+b1 && $fields = 'p (2.0), Depends: p-data (= 2.0)' ]] || changed "$suite: .dsc $version, p-data $data, p: Source: $fields"
	[[ $full != 0 && $(<said) == *p_2.0.dsc* ]] || changed "$suite: dpkg-genchanges: exit $full, $(tail -n 1 said)"
	seen "$suite: .dsc: Version: $version; p-data: Version: $data; p: Source: $fields; dpkg-genchanges: exit $full, $(grep error said)"
done
