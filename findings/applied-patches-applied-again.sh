#!/bin/bash
# dpkg-source -b (1.21.23 and 1.23.11) looks at the first patch only to tell whether patches are applied: if "patch --dry-run" takes it, none is.
# A first patch that only changes a mode, or that a later one takes back, is always taken, so the whole series is applied a second time: a correct
# tree with applied patches (without .pc, as dgit and git-debrebase keep it) fails at the next patch. With --no-preparation the same tree is built,
# and comes out as it was.
. "${0%/*}/lib.sh"
fetch bookworm dpkg=1.21.23 dpkg-dev=1.21.23 libdpkg-perl=1.21.23
fetch sid dpkg=1.23.11 dpkg-dev=1.23.11 libdpkg-perl=1.23.11
patch_of() { # NAME: the changes as a patch of the series
	git add -A .
	git diff --cached --no-renames -- . ':!debian' >"debian/patches/$1"
	echo "$1" >>debian/patches/series
	git commit -q -m "$1"
}
for first in mode taken-back; do
	rm -rf p-1.0 tree
	package
	cd p-1.0
	git init -q . && git add -A && git commit -q -m Upstream
	if [[ $first == mode ]]; then chmod +x run.sh; else echo new >new; fi
	patch_of one
	sed -i 's/two/2/' file
	patch_of two
	[[ $first == mode ]] || { rm new && patch_of three; }
	rm -rf .git
	cd ..
	cp -a p-1.0 tree
	for suite in bookworm sid; do
		rm -rf p-1.0 unpacked && cp -a tree p-1.0
		if dpkg_source "$suite" -b p-1.0 >said 2>&1; then changed "$suite, $first: the tree is built"; fi
		grep -q 'Reversed (or previously applied) patch detected' said || changed "$suite, $first: it fails otherwise: $(tail -n 1 said)"
		seen "$suite, $first: $(grep -o 'applying [a-z]*$' said | tr '\n' ' ')$(grep -o 'Reversed.*detected' said)"
		rm -rf p-1.0 && cp -a tree p-1.0
		dpkg_source "$suite" --no-preparation -b p-1.0 >said 2>&1 || changed "$suite, $first: --no-preparation does not help"
		dpkg_source "$suite" --no-check -x p_1.0-1.dsc unpacked >said 2>&1
		diff -r --no-dereference -x .pc tree unpacked || changed "$suite, $first: what is unpacked differs"
		seen "$suite, $first: with --no-preparation it is built, and unpacks to the same tree"
	done
done
