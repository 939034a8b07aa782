#!/bin/sh
# Puts the programs where the README says they are: build/xhyve, build/xhyve-img and build/xhyve-ctl.
# usage: tools/link-outputs.sh BUILDDIR
set -eu
cd "$1"
for f in src/cli/xhyve src/img/xhyve-img src/ctl/xhyve-ctl; do
	[ ! -e "$f" ] || ln -sf "$f" "$(basename "$f")"
done
