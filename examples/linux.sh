#!/bin/sh
# A whole machine in one command, in the form of the article: a shell script as configuration file.
# Copy it and change what you like; `man xhyve` explains every option.
#
# Without arguments it boots Debian's cloud kernel to a busybox shell. Environment:
#   XHYVE   the program                 KERNEL, INITRD   other files to boot
#   EXTRA   more options, e.g. "-c 2"     DISK             path of the disk image
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
XHYVE=${XHYVE:-$top/build/xhyve}

# Linux
KERNEL=${KERNEL:-$("$top/tools/kernel.sh" linux-image-cloud-amd64)}
INITRD=${INITRD:-$("$top/tools/initramfs.sh" "" "$KERNEL")}
CMDLINE=${CMDLINE:-"console=ttyS0"}

# The disk: 20G for the guest, created on first use; on the host it takes the space of what is in it.
DISK=${DISK:-$top/build/hdd.img}

# Guest config
ACPI="-A"
MEM="-m 512M"
PCI_DEV="-s 0:0,hostbridge -s 31,lpc"
IMG_HDD="-s 4,virtio-blk,$DISK,sectorsize=4096,size=20G,split=1G,sparse"
LPC_DEV="-l com1,stdio"

# and now run
exec "$XHYVE" $ACPI $MEM $PCI_DEV $LPC_DEV $IMG_HDD ${EXTRA:-} -f "kexec,$KERNEL,$INITRD,$CMDLINE"
