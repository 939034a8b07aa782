#!/bin/sh
# Makes an installation CD of a small Debian system: a text-mode installer (tools/installer.sh), its kernel and
# initrd, and the packages. Prints the path of the ISO image.
# usage: tools/install-cd.sh [OUT]     default: ~/.cache/xhyve/install.iso
#
# The packages are fetched once, with what apt knows of the host's mirrors, and kept in ~/.cache/xhyve/debs-*; from
# then on no network is needed. On the disc, as on the discs of distributions:
#   install/vmlinuz, install/initrd.gz   what to start (Debian's generic kernel)
#   boot/grub/grub.cfg                   says so
#   pool/*.deb, Packages                 packages, and the index that makes the disc a repository of apt
#   install/first, install/packages      packages that must be there before apt runs; what apt then installs, a line at a time
set -eu

top=$(cd "$(dirname "$0")/.." && pwd)
cache=${XHYVE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/xhyve}
out=${1:-$cache/install.iso}
wanted="systemd-sysv udev dbus kmod iproute2 netbase netcat-openbsd e2fsprogs initramfs-tools zstd grub-pc"
kernel_wanted=linux-image-cloud-amd64 # last, so that its initrd is made once
extra="hello linux-image-6.12-cloud-amd64" # on the disc, not installed: something to add, and a kernel to change to

for p in apt-get dpkg-deb xorriso sfdisk mkfs.ext4 e2fsck; do
	command -v $p >/dev/null || PATH=$PATH:/usr/sbin:/sbin
	command -v $p >/dev/null || { echo "install-cd: $p is missing" >&2; exit 1; }
done

# fetch LIST PACKAGE...: the packages with all they depend on, as for an empty system; the files' names into LIST
fetch() {
	list=$1
	shift
	if ! apt-get -o Dir::State::status="$debs/status" -o Dir::Cache::archives="$debs" -o Debug::NoLocking=1 \
		-o APT::Install-Recommends=0 -o APT::Architecture=amd64 -o APT::Sandbox::User= \
		-y --download-only install "$@" >"$debs/log" 2>&1; then
		tail -n 5 "$debs/log" >&2
		echo "install-cd: cannot fetch packages" >&2
		exit 1
	fi
	(cd "$debs" && ls *.deb) >"$debs/$list"
}

debs=$cache/debs-$(echo "$wanted $kernel_wanted $extra" | cksum | cut -d ' ' -f 1)
if [ ! -s "$debs/all" ]; then
	echo "install-cd: fetching packages" >&2
	rm -rf "$debs"
	mkdir -p "$debs/partial"
	: >"$debs/status"
	[ -n "$(apt-cache -q search --names-only '^systemd-sysv$' 2>/dev/null)" ] || {
		[ "$(id -u)" = 0 ] || sudo=sudo
		${sudo:-} apt-get update -q >&2
	}
	fetch first '?essential' usr-is-merged apt
	fetch all '?essential' usr-is-merged apt $wanted $kernel_wanted $extra
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/cd/pool" "$work/cd/install" "$work/cd/boot/grub"
while read -r f; do
	# the names of files cannot have the %3a that apt puts for the colon of an epoch
	name=$(echo "$f" | sed 's/_[0-9]*%3a/_/')
	ln "$debs/$f" "$work/cd/pool/$name" 2>/dev/null || cp "$debs/$f" "$work/cd/pool/$name"
	dpkg-deb -f "$debs/$f"
	echo "Filename: ./pool/$name"
	echo "Size: $(stat -c %s "$debs/$f")"
	echo "SHA256: $(sha256sum "$debs/$f" | cut -d ' ' -f 1)"
	echo
done <"$debs/all" >"$work/cd/Packages"
sed 's/_[0-9]*%3a/_/' "$debs/first" >"$work/cd/install/first"
printf '%s\n' "$wanted" "$kernel_wanted" >"$work/cd/install/packages"

kernel=$("$top/tools/kernel.sh" linux-image-amd64)
cp "$top/tools/installer.sh" "$work/session"
"$top/tools/initramfs.sh" "$work/cd/install/initrd.gz" "$kernel" "$work/session" "$(command -v sfdisk)" \
	"$(command -v mkfs.ext4)" "$(command -v e2fsck)" >/dev/null
cp "$kernel" "$work/cd/install/vmlinuz"
cat >"$work/cd/boot/grub/grub.cfg" <<'CFG'
set timeout=5
menuentry "Install" {
	linux /install/vmlinuz quiet
	initrd /install/initrd.gz
}
CFG
mkdir -p "$(dirname "$out")"
xorriso -as mkisofs -quiet -r -J -joliet-long -V INSTALL -o "$out.$$" "$work/cd" 2>"$work/log" || {
	cat "$work/log" >&2
	exit 1
}
mv "$out.$$" "$out"
echo "$out"
