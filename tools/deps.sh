#!/bin/sh
# Installs the Debian packages that a make target needs, if they are missing.
# usage: tools/deps.sh build|run|lint|bench|fuzz|all
#
# Says nothing and needs no network when everything is there. As an ordinary user it goes through
# sudo; without sudo it prints the command that an administrator would run.
set -eu

build="gcc make meson ninja-build pkg-config python3 acpica-tools libc6-dev linux-libc-dev
	libzydis-dev libcmocka-dev zlib1g-dev libzstd-dev liblzma-dev liblz4-dev libbz2-dev libslirp-dev libseccomp-dev"
run="busybox-static cpio"
check="python3-pytest python3-pexpect mandoc dpkg e2fsprogs fio iproute2 dropbear-bin openssh-client passt
	hdparm smartmontools sg3-utils lsscsi eject wodim xorriso pciutils dmidecode util-linux fdisk zsh"
lint="clang-format clang-tidy mandoc"
bench="qemu-system-x86 qemu-utils iproute2 xz-utils bzip2 mawk dash openssl python3"
fuzz="clang libclang-rt-14-dev"
check="$check dosfstools mtools fdisk grub-common grub-pc-bin" # file systems, partitions and boot menus for the tests

case "${1:-all}" in
build) want="$build" ;;
run) want="$run" ;;
lint) want="$build $lint" ;;
bench) want="$run $bench" ;;
fuzz) want="$build $fuzz" ;;
all) want="$build $run $check" ;;
*)
	echo "usage: $0 build|run|lint|bench|fuzz|all" >&2
	exit 64
	;;
esac

missing=""
for p in $want; do
	case "$(dpkg-query -W -f '${Status}' "$p" 2>/dev/null)" in
	"install ok installed") ;;
	*) missing="$missing $p" ;;
	esac
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null; then
	echo "deps: this is not Debian; please install what corresponds to:$missing" >&2
	exit 1
fi
if [ "$(id -u)" = 0 ]; then
	sudo=""
elif command -v sudo >/dev/null; then
	sudo="sudo"
else
	echo "deps: missing packages; as root run: apt-get install$missing" >&2
	exit 1
fi
echo "deps: installing$missing"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! { $sudo apt-get update -q && $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing; } >"$log" 2>&1; then
	tail -n 20 "$log" >&2
	echo "deps: apt-get failed" >&2
	exit 1
fi
