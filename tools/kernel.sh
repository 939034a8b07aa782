#!/bin/sh
# Fetches a stock Debian kernel package and unpacks its kernel and modules; prints the kernel's path.
# usage: tools/kernel.sh [PACKAGE]     default: linux-image-cloud-amd64
#
# PACKAGE may be a meta package. The result is kept in ~/.cache/xhyve/kernel/PACKAGE and used again without
# a network. XHYVE_CACHE names another cache directory; the default is ~/.cache/xhyve.
set -eu
. "$(dirname "$0")/fetch.sh"

pkg=${1:-linux-image-cloud-amd64}
cache=${XHYVE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/xhyve}/kernel
dir=$cache/$pkg

if [ ! -s "$dir/vmlinuz" ]; then
	fetch_begin kernel "$pkg" "$cache"
	real=$(apt-cache depends "$pkg" 2>/dev/null | sed -n 's/^ *|\{0,1\}Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
	if [ -z "$real" ] && ! apt-cache show "$pkg" >/dev/null 2>&1; then
		fetch_lists
		real=$(apt-cache depends "$pkg" | sed -n 's/^ *|\{0,1\}Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
	fi
	fetch kernel "${real:-$pkg}"
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
