#!/bin/sh
# Starts the system that examples/install.sh has installed: the same script with the changes of the article. The
# kernel and the initrd come out of the guest, see docs/guide.md, "Install a system".
set -eu
XHYVE=${XHYVE:-xhyve}

# Linux
KERNEL=${KERNEL:-$(ls vmlinuz-* | sort -V | tail -n 1)}
INITRD=${INITRD:-initrd.img-${KERNEL#*vmlinuz-}}
CMDLINE=${CMDLINE:-"earlyprintk=serial console=ttyS0 root=/dev/vda1"}

# Guest Config
ACPI="-A"
MEM="-m 1G"
#IMG_CD="-s 1,ahci-cd,${ISO:-install.iso}"
IMG_HDD="-s 2,virtio-blk,${DISK:-hdd.img},size=20G,split=1G,sparse"
NET="-s 3,virtio-net,vmnet0"
PCI_DEV="-s 0:0,hostbridge -s 31,lpc"
LPC_DEV="-l com1,stdio"

# and now run
exec "$XHYVE" $ACPI $MEM $PCI_DEV $LPC_DEV $NET ${IMG_CD:-} $IMG_HDD ${EXTRA:-} -f "kexec,$KERNEL,$INITRD,$CMDLINE"
