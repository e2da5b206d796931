#!/bin/bash
# What dpkg-source (1.21.23 and 1.23.11) can read it cannot write. A patch with git's headers alone (a mode, a rename, a symbolic link) is
# applied by dpkg-source -x, by the grace of patch(1). The mode of an existing file changed without a patch is lost by dpkg-source -b: exit 0, no
# warning, not even with --auto-commit, which is there to record changes.
. "${0%/*}/lib.sh"
fetch bookworm dpkg=1.21.23 dpkg-dev=1.21.23 libdpkg-perl=1.21.23 patch=2.7.6-7
fetch sid dpkg=1.23.11 dpkg-dev=1.23.11 libdpkg-perl=1.23.11
package
cd p-1.0
git init -q . && git add -A && git commit -q -m Upstream
chmod +x run.sh && git mv README README.md && ln -s file link && git add -A
git diff --cached -M >debian/patches/headers
if grep '^@@' debian/patches/headers | grep -v '^@@ -0,0 +1 @@$'; then changed 'the patch has other hunks than that of the link'; fi
echo headers >debian/patches/series
git reset -q --hard && rm -rf .git
cd ..
cp -a p-1.0 tree
for suite in bookworm sid; do
	rm -rf p-1.0 unpacked && cp -a tree p-1.0
	dpkg_source "$suite" -b p-1.0 >said 2>&1 || changed "$suite: with the patch it fails: $(tail -n 1 said)"
	dpkg_source "$suite" --no-check -x p_1.0-1.dsc unpacked >said 2>&1 || changed "$suite: it is not unpacked: $(tail -n 1 said)"
	[[ -x unpacked/run.sh && -e unpacked/README.md && ! -e unpacked/README && -L unpacked/link ]] || changed "$suite: git's headers are not obeyed"
	seen "$suite: unpacked with the patch: $(cd unpacked && find . -maxdepth 1 ! -name . ! -name .pc ! -name debian -printf '%P (%M) ' | tr '\n' ' ')"
	rm -rf p-1.0 unpacked && cp -a tree p-1.0 && rm -rf p-1.0/debian/patches
	chmod +x p-1.0/run.sh
	for option in --no-unapply-patches --auto-commit; do
		dpkg_source "$suite" "$option" -b p-1.0 >said 2>&1 || changed "$suite: without the patch it fails: $(tail -n 1 said)"
		if grep 'warning\|run.sh' said; then changed "$suite: there is a word of it"; fi
		rm -rf unpacked && dpkg_source "$suite" --no-check -x p_1.0-1.dsc unpacked >said 2>&1
		[[ ! -x unpacked/run.sh ]] || changed "$suite: the mode is kept"
	done
	seen "$suite: without it, and with --auto-commit: exit 0, no warning, run.sh is $(stat -c %A unpacked/run.sh)"
done
