#!/bin/sh
# Builds a small initramfs from Debian's busybox: a root shell on the console, and `poweroff`,
# `reboot` and `halt` that work. Prints the path of the result.
# usage: tools/initramfs.sh [OUT [KERNEL [PROGRAM...]]]
#
# KERNEL is a kernel of tools/kernel.sh: the modules of its devices and file systems are packed and loaded
# before the shell starts. PROGRAMs of the host are packed with the libraries that they need; one with the name
# `session` runs instead of the shell.
# If the kernel command line has `xhyve.run=COMMAND`, it runs COMMAND (with _ for spaces) and switches
# the machine off. `xhyve.skip=PATTERN` leaves modules out; `xhyve.root=DEVICE` goes on with /init of the
# ext4 file system there, which has a file /etc/is-root.
set -eu

out=${1:-${XHYVE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/xhyve}/initramfs.cpio.gz}
modules=
[ -z "${2:-}" ] || modules=$(dirname "$2")/modules/kernel
[ $# -lt 2 ] && set -- || shift 2

busybox=/bin/busybox
[ -x "$busybox" ] || { echo "initramfs: $busybox is missing (package busybox-static)" >&2; exit 1; }
mkdir -p "$(dirname "$out")"
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir -p "$root/bin" "$root/proc" "$root/sys" "$root/dev" "$root/tmp" "$root/mnt" "$root/lib/modules" "$root/etc"
cp "$busybox" "$root/bin/busybox"

# In the order of loading. What a kernel has built in is no file here.
if [ -n "$modules" ]; then
	for m in drivers/virtio/virtio_ring drivers/virtio/virtio drivers/virtio/virtio_pci_legacy_dev \
		drivers/virtio/virtio_pci_modern_dev drivers/virtio/virtio_pci drivers/block/virtio_blk \
		net/core/failover drivers/net/net_failover drivers/net/virtio_net \
		drivers/char/virtio_console drivers/char/hw_random/virtio-rng \
		crypto/crct10dif_common crypto/crct10dif_generic lib/crc-t10dif lib/crc64 crypto/crc64_rocksoft_generic lib/crc64-rocksoft block/t10-pi drivers/scsi/scsi_common \
		drivers/scsi/scsi_mod drivers/ata/libata drivers/ata/libahci drivers/ata/ahci \
		drivers/scsi/sd_mod drivers/cdrom/cdrom drivers/scsi/sr_mod drivers/scsi/sg fs/isofs/isofs \
		lib/crc16 crypto/crc32c_generic fs/mbcache fs/jbd2/jbd2 fs/ext4/ext4; do
		f=$modules/$m.ko
		[ -e "$f" ] || f=$f.xz
		[ -e "$f" ] || continue
		name=$(basename "$m").ko
		case "$f" in *.xz) xz -dc "$f" >"$root/lib/modules/$name" ;; *) cp "$f" "$root/lib/modules/" ;; esac
		echo "$name" >>"$root/lib/modules/order"
	done
fi

# A program and its libraries keep their paths, which the dynamic linker has built in.
for p in "$@"; do
	cp -L "$p" "$root/bin/"
	case "$p" in */mkfs.ext?) cp /etc/mke2fs.conf "$root/etc/" ;; esac
	for lib in $(ldd "$p" 2>/dev/null | sed -n 's/.*=> \(\/[^ ]*\) .*/\1/p; s/^[[:space:]]*\(\/[^ ]*\) .*/\1/p'); do
		mkdir -p "$root$(dirname "$lib")"
		[ -e "$root$lib" ] || cp -L "$lib" "$root$lib"
	done
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
run= root= skip=
for w in $(cat /proc/cmdline); do
	case $w in
	xhyve.run=*) run=$(echo "${w#xhyve.run=}" | tr _ ' ') ;;
	xhyve.root=*) root=${w#xhyve.root=} ;;
	xhyve.skip=*) skip=${w#xhyve.skip=} ;;
	esac
done
if [ -e /lib/modules/order ]; then
	while read -r m; do
		case $m in $skip) continue ;; esac
		insmod "/lib/modules/$m" 2>/dev/null
	done </lib/modules/order
fi
if [ -n "$root" ] && [ ! -e /etc/is-root ]; then
	for n in 1 2 3 4 5 6 7 8 9 10; do [ -e "$root" ] && break; sleep 1; done
	mount -t ext4 "$root" /mnt && umount /dev/pts /dev /sys /proc && exec switch_root /mnt /init
fi
# busybox's own applets talk to init; there is none here, so functions ask the kernel.
cat >/etc/shrc <<'FUNCTIONS'
poweroff() { sync; busybox poweroff -f; }
reboot() { sync; busybox reboot -f; }
halt() { sync; busybox halt -f; }
FUNCTIONS
# What udhcpc calls with the answers; `net` brings a card up.
cat >/etc/udhcpc <<'SCRIPT'
#!/bin/sh
[ "$1" = bound ] || [ "$1" = renew ] || exit 0
ip addr replace "$ip/$mask" dev "$interface"
[ -z "$router" ] || ip route replace default via "${router%% *}"
for s in $dns; do echo "nameserver $s"; done >/etc/resolv.conf
SCRIPT
chmod +x /etc/udhcpc
cat >>/etc/shrc <<'FUNCTIONS'
net() { ip link set lo up; ip link set "${1:-eth0}" up; udhcpc -q -n -s /etc/udhcpc -i "${1:-eth0}"; }
FUNCTIONS
export ENV=/etc/shrc
hostname guest
# The console may be any device: ask which one is active and make it the controlling terminal.
con=$(sed 's/.* //' /sys/class/tty/console/active)
echo "Welcome to $(uname -sr) on $(nproc) CPU(s)."
if [ -n "$run" ]; then
	sh -c "$run"
	sync
	poweroff -f
fi
session="sh -i"
[ ! -x /bin/session ] || session=/bin/session
while :; do
	setsid sh -c "exec $session <>/dev/${con:-console} >&0 2>&1"
done
EOF
chmod +x "$root/init"
(cd "$root" && find . | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0 | gzip -9n) >"$out.$$"
mv "$out.$$" "$out"
echo "$out"
