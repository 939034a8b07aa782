#!/bin/sh
# The newest QEMU that Debian offers for this release, backports included, for benchmarks: fetched and unpacked
# beside the system, without installing it. Prints a directory for PATH that has qemu-system-x86_64 and qemu-img;
# nothing where only the installed ones are to be had.
# usage: tools/qemu.sh
#
# The result is kept in ~/.cache/xhyve/qemu and used again without a network. XHYVE_CACHE names another cache
# directory. The libraries that it needs are those of the installed QEMU.
set -eu

cache=${XHYVE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/xhyve}
packages="qemu-system-x86 qemu-system-common qemu-system-data seabios qemu-utils"

# apt-get with lists of its own: the system's sources stay as they are.
apt() {
	apt-get -q -o Dir::Etc::sourcelist="$work/list" -o Dir::Etc::sourceparts=- -o Dir::State::lists="$work/lists" \
		-o Dir::Cache="$work/cache" "$@" >"$work/apt.log" 2>&1
}

fetch() {
	command -v apt-get >/dev/null || return 1
	set -- $(apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(COMPONENT)' 'Created-By: Packages' |
		awk '$3 == "main" && $2 !~ /-/ { print $1, $2; exit }')
	[ $# = 2 ] || return 1
	echo "qemu: fetching the newest one for $2" >&2
	mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/root" "$work/bin"
	echo "deb $1 $2-backports main" >"$work/list"
	(cd "$work" && apt update && apt -t "$2-backports" download $packages) || { tail -n 3 "$work/apt.log" >&2; return 1; }
	for deb in "$work"/*.deb; do
		dpkg-deb -x "$deb" "$work/root" || return 1
	done
	cat >"$work/bin/qemu-system-x86_64" <<-END
		#!/bin/sh
		share=$cache/qemu/root/usr/share
		exec $cache/qemu/root/usr/bin/qemu-system-x86_64 -L \$share/qemu -L \$share/seabios "\$@"
	END
	chmod 755 "$work/bin/qemu-system-x86_64"
	ln -s ../root/usr/bin/qemu-img "$work/bin/qemu-img"
	"$work/root/usr/bin/qemu-system-x86_64" --version >/dev/null && "$work/bin/qemu-img" --version >/dev/null
}

if [ ! -x "$cache/qemu/bin/qemu-system-x86_64" ]; then
	mkdir -p "$cache"
	work=$(mktemp -d "$cache/qemu.XXXXXX")
	trap 'rm -rf "$work"' EXIT
	chmod 755 "$work"
	fetch || { echo "qemu: no backport to be had; the installed one is the peer" >&2; exit 0; }
	rm -rf "$work"/*.deb "$work/lists" "$work/cache" "$cache/qemu"
	mv -T "$work" "$cache/qemu"
fi
echo "$cache/qemu/bin"
