#!/bin/sh
# Fetches a stock Debian kernel package and unpacks its kernel and modules; prints the kernel's path.
# usage: tools/kernel.sh [PACKAGE]     default: linux-image-cloud-amd64
#
# PACKAGE may be a meta package. The result is kept in ~/.cache/xhyve/kernel/PACKAGE and used again without
# a network. XHYVE_CACHE names another cache directory; the default is ~/.cache/xhyve.
set -eu

pkg=${1:-linux-image-cloud-amd64}
cache=${XHYVE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/xhyve}/kernel
dir=$cache/$pkg

if [ ! -s "$dir/vmlinuz" ]; then
	command -v apt-get >/dev/null || { echo "kernel: apt-get is needed to fetch $pkg" >&2; exit 1; }
	mkdir -p "$cache"
	work=$(mktemp -d "$cache/fetch.XXXXXX")
	trap 'rm -rf "$work"' EXIT
	chmod 755 "$work"
	real=$(apt-cache depends "$pkg" 2>/dev/null | sed -n 's/^ *|\{0,1\}Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
	if [ -z "$real" ] && ! apt-cache show "$pkg" >/dev/null 2>&1; then
		[ "$(id -u)" = 0 ] || sudo=sudo
		${sudo:-} apt-get update -q >&2
		real=$(apt-cache depends "$pkg" | sed -n 's/^ *|\{0,1\}Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
	fi
	echo "kernel: fetching ${real:-$pkg}" >&2
	if ! (cd "$work" && apt-get download "${real:-$pkg}" >apt.log 2>&1); then
		cat "$work/apt.log" >&2
		echo "kernel: cannot fetch ${real:-$pkg}" >&2
		exit 1
	fi
	dpkg-deb -x "$work"/*.deb "$work/root"
	rm -rf "$dir"
	mkdir -p "$dir"
	if [ -d "$work/root/lib/modules" ]; then
		mv "$work"/root/boot/vmlinuz-* "$dir/vmlinuz.tmp"
		mv "$work/root/lib/modules"/* "$dir/modules"
		mv "$dir/vmlinuz.tmp" "$dir/vmlinuz"
	else # memtest86+, Xen and the like: one bootable file
		f=$(find "$work/root/boot" -name '*64.bin' -o -name 'vmlinuz*' -o -name 'xen-*.gz' | head -n 1)
		mv "$f" "$dir/vmlinuz"
	fi
fi
echo "$dir/vmlinuz"
