# shellcheck shell=bash
# Completion of 'remctl SERVER build ...' for bash, by asking the server: copy it to ~/.local/share/bash-completion/completions/remctl
# on the developers' machines. It takes a Kerberos ticket, as every request does.

_remctl_build() {
	local word=${COMP_WORDS[COMP_CWORD]}
	if [ "$COMP_CWORD" -lt 3 ] || [ "${COMP_WORDS[2]}" != build ]; then return; fi
	mapfile -t COMPREPLY < <(remctl "${COMP_WORDS[1]}" build complete -- "${COMP_WORDS[@]:3:COMP_CWORD-3}" "$word" 2>/dev/null)
}
complete -F _remctl_build -o bashdefault -o default -o nosort remctl
