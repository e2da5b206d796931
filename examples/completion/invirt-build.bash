# shellcheck shell=bash
# Completion of invirt-build(1) for bash: verbs, options, and the pockets, packages and jobs that the service knows.

_invirt_build() {
	local word=${COMP_WORDS[COMP_CWORD]}
	mapfile -t COMPREPLY < <(invirt-build complete -- "${COMP_WORDS[@]:1:COMP_CWORD-1}" "$word" 2>/dev/null)
}
complete -F _invirt_build -o bashdefault -o nosort invirt-build
