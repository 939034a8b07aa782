# Completion for bash: xhyve, xhyve-img and xhyve-ctl. Names of options, devices and consoles come from the programs' own help,
# so they are those of the version that is installed.

# The words of "$1 $2..." that begin a line of the help and match the awk pattern in $pattern.
_xhyve_names() {
	"$@" 2>/dev/null | sed -n "$pattern"
}

# What follows the last comma is a file: completes it and keeps what is before.
_xhyve_file() {
	local before=${1%,*}, f
	[[ $1 == *,* ]] || before=
	compopt -o nospace -o filenames 2>/dev/null
	while IFS= read -r f; do COMPREPLY+=("$before$f"); done < <(compgen -f -- "${1##*,}")
}

_xhyve_words() { # PREFIX WORDS: those that begin with $cur, which begins with PREFIX
	mapfile -t COMPREPLY < <(compgen -P "$1" -W "$2" -- "${cur#"$1"}")
}

_xhyve_slot() {
	local slot=${cur%%,*} rest=${cur#*,} device pattern
	[[ $cur == *,* ]] || return
	device=${rest%%,*}
	if [[ $rest != *,* ]]; then
		pattern='s/^  \([a-z][a-z0-9_-]*\)  .*/\1/p'
		_xhyve_words "$slot," "$(_xhyve_names "$xhyve" -s help)"
		compopt -o nospace
		return
	fi
	case $device in virtio-blk | ahci*) _xhyve_file "$cur" ;; esac
}

_xhyve_port() {
	local pattern='s/^  \([a-z][a-z0-9]*\).*/\1/p' port=${cur%%,*}
	compopt -o nospace
	if [[ $cur != *,* ]]; then
		_xhyve_words "" "com1 com2 debugexit help"
	else
		_xhyve_words "$port," "$(_xhyve_names "$xhyve" -l help)"
	fi
}

_xhyve() {
	local xhyve=${COMP_WORDS[0]} cur prev pattern line=${COMP_LINE:0:COMP_POINT}
	xhyve=${xhyve/#\~/$HOME}
	# bash splits words at = and :, which are parts of ours
	cur=${line##*[[:space:]]}
	prev=${line%"$cur"}
	prev=${prev%"${prev##*[![:space:]]}"}
	prev=${prev##*[[:space:]]}
	COMPREPLY=()
	case $prev in
	-f)
		if [[ $cur == *,* ]]; then _xhyve_file "$cur"; else _xhyve_words "" "kexec, multiboot, iso disk"; compopt -o nospace; fi ;;
	-s) _xhyve_slot ;;
	-l) _xhyve_port ;;
	-F) _xhyve_file "$cur" ;;
	-[cmgpU]) ;;
	*)
		case $cur in
		--accel=*) mapfile -t COMPREPLY < <(compgen -W "auto kvm jit interp" -- "${cur#*=}") ; return ;;
		-*)
			pattern='s/^  \(-[^-]\), \(--[a-z-]*\).*/\1\n\2/p; s/^  \(-[^-,]\)[ [].*/\1/p; s/^  \(--[a-z-]*=\{0,1\}\).*/\1/p'
			_xhyve_words "" "$(_xhyve_names "$xhyve" --help)"
			[[ ${COMPREPLY[*]} != *= ]] || compopt -o nospace ;;
		esac ;;
	esac
	# the part that bash thinks the word is
	local word=${COMP_WORDS[COMP_CWORD]} i
	if [[ $cur != "$word" && $cur == *"$word" ]]; then
		for i in "${!COMPREPLY[@]}"; do COMPREPLY[i]=${COMPREPLY[i]#"${cur%"$word"}"}; done
	fi
}

_xhyve_img() {
	local img=${COMP_WORDS[0]} cur=${COMP_WORDS[COMP_CWORD]} pattern
	COMPREPLY=()
	if ((COMP_CWORD == 1)); then
		pattern='/^commands:/,/^$/s/^  \([a-z]*\) .*/\1/p'
		_xhyve_words "" "$(_xhyve_names "$img" --help) --help"
	elif [[ $cur == -* ]]; then
		pattern='s/^  \(-[^-]\), \(--[a-z-]*\).*/\1\n\2/p; s/^  \(--[a-z-]*\).*/\1/p'
		_xhyve_words "" "$(_xhyve_names "$img" "${COMP_WORDS[1]}" --help)"
	else
		_xhyve_file "$cur"
	fi
}

_xhyve_ctl() {
	local cur=${COMP_WORDS[COMP_CWORD]} pattern='s/^  \([a-z]*\) .*/\1/p'
	COMPREPLY=()
	if ((COMP_CWORD == 2)); then
		_xhyve_words "" "$(_xhyve_names "${COMP_WORDS[0]}" --help)"
	elif ((COMP_CWORD == 3)); then
		case ${COMP_WORDS[2]} in
		insert | eject) _xhyve_words "" "cd" ;;
		link) _xhyve_words "" "net" ;;
		resize) _xhyve_words "" "disk" ;;
		esac
	elif [[ ${COMP_WORDS[2]} == link ]]; then
		_xhyve_words "" "up down"
	else
		_xhyve_file "$cur"
	fi
}

complete -F _xhyve xhyve
complete -F _xhyve_ctl xhyve-ctl
complete -F _xhyve_img xhyve-img
