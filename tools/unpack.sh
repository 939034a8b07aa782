#!/bin/sh
# Fetches a Debian package and unpacks it beside the system, without installing it; prints where it is. Tests use
# the boot loaders of such packages: installed ones would want to write to the host's own disks.
# usage: tools/unpack.sh PACKAGE [PATH...]     PATH: only what is below, as in usr/lib/x
#
# The result is kept in ~/.cache/xhyve/packages/PACKAGE and used again without a network. XHYVE_CACHE names another
# cache directory.
set -eu
. "$(dirname "$0")/fetch.sh"

pkg=$1
shift
cache=${XHYVE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/xhyve}/packages
if [ ! -d "$cache/$pkg" ]; then
	fetch_begin unpack "$pkg" "$cache"
	apt-cache show "$pkg" >/dev/null 2>&1 || fetch_lists
	fetch unpack "$pkg"
	mkdir "$work/root"
	if [ $# -eq 0 ]; then
		dpkg-deb -x "$work"/*.deb "$work/root"
	else
		dpkg-deb --fsys-tarfile "$work"/*.deb | tar -x -C "$work/root" $(printf './%s ' "$@")
	fi
	mv -T "$work/root" "$cache/$pkg" 2>/dev/null || [ -d "$cache/$pkg" ] # another one may have been faster
fi
echo "$cache/$pkg"
