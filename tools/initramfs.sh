#!/bin/sh
# Builds a small initramfs from Debian's busybox: a root shell on the console, and `poweroff`,
# `reboot` and `halt` that work. Prints the path of the result.
# usage: tools/initramfs.sh [OUT [KERNELDIR [MODULE...]]]
#
# MODULEs (paths below KERNELDIR/modules/kernel, without .ko) are packed and loaded before the
# shell starts. If the kernel command line has `xhyve.run=COMMAND`, it runs COMMAND (with _ for
# spaces) and switches the machine off.
set -eu

out=${1:-${XHYVE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/xhyve}/initramfs.cpio.gz}
kdir=${2:-}
[ $# -lt 2 ] || shift 2
[ -n "$kdir" ] || set --

busybox=/bin/busybox
[ -x "$busybox" ] || { echo "initramfs: $busybox is missing (package busybox-static)" >&2; exit 1; }
mkdir -p "$(dirname "$out")"
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir -p "$root/bin" "$root/proc" "$root/sys" "$root/dev" "$root/tmp" "$root/mnt" "$root/lib/modules" "$root/etc"
cp "$busybox" "$root/bin/busybox"
for m in "$@"; do
	f="$kdir/modules/kernel/$m.ko"
	[ -e "$f" ] || continue
	cp "$f" "$root/lib/modules/"
	echo "$(basename "$m").ko" >>"$root/lib/modules/order"
done
cat >"$root/init" <<'EOF'
#!/bin/busybox sh
export PATH=/bin HOME=/ TERM=${TERM:-vt100} PS1='guest:\w# '
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null
mkdir -p /dev/pts
mount -t devpts pts /dev/pts 2>/dev/null
if [ -e /lib/modules/order ]; then
	while read -r m; do insmod "/lib/modules/$m"; done </lib/modules/order
fi
# busybox's own applets talk to init; there is none here, so functions ask the kernel.
cat >/etc/shrc <<'FUNCTIONS'
poweroff() { sync; busybox poweroff -f; }
reboot() { sync; busybox reboot -f; }
halt() { sync; busybox halt -f; }
FUNCTIONS
export ENV=/etc/shrc
hostname guest
run=
for w in $(cat /proc/cmdline); do
	case $w in xhyve.run=*) run=$(echo "${w#xhyve.run=}" | tr _ ' ') ;; esac
done
# The console may be any device: ask which one is active and make it the controlling terminal.
con=$(sed 's/.* //' /sys/class/tty/console/active)
echo "Welcome to $(uname -sr) on $(nproc) CPU(s)."
if [ -n "$run" ]; then
	sh -c "$run"
	sync
	poweroff -f
fi
while :; do
	setsid sh -c "exec sh -i <>/dev/${con:-console} >&0 2>&1"
done
EOF
chmod +x "$root/init"
(cd "$root" && find . | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0 | gzip -9n) >"$out.tmp"
mv "$out.tmp" "$out"
echo "$out"
