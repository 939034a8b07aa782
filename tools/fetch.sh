# To be sourced by what fetches packages: WHO is the name that messages begin with.

# fetch_begin WHO WHAT CACHE: $work is a new directory in CACHE that goes away with the script.
fetch_begin() {
	command -v apt-get >/dev/null || { echo "$1: apt-get is needed to fetch $2" >&2; exit 1; }
	mkdir -p "$3"
	work=$(mktemp -d "$3/fetch.XXXXXX")
	trap 'rm -rf "$work"' EXIT
	chmod 755 "$work"
}

# apt's lists, where there are none.
fetch_lists() {
	[ "$(id -u)" = 0 ] || sudo=sudo
	${sudo:-} apt-get update -q >&2
}

# fetch WHO PACKAGE: its .deb is in $work.
fetch() {
	echo "$1: fetching $2" >&2
	(cd "$work" && apt-get download "$2" >apt.log 2>&1) && return
	cat "$work/apt.log" >&2
	echo "$1: cannot fetch $2" >&2
	exit 1
}
