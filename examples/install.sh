#!/bin/sh
# Starts an installer from a CD image, as in the article "xhyve: a quick how to". Copy it and change what you like.
#
# It wants three files: the CD image, and the kernel and initrd from it. With a CD of tools/install-cd.sh:
#   tools/install-cd.sh install.iso
#   xhyve-img cp install.iso:/install/vmlinuz .
#   xhyve-img cp install.iso:/install/initrd.gz .
# Then examples/boot.sh starts what was installed.
set -eu
XHYVE=${XHYVE:-xhyve}

# Linux
KERNEL=${KERNEL:-vmlinuz}
INITRD=${INITRD:-initrd.gz}
CMDLINE=${CMDLINE:-"earlyprintk=serial console=ttyS0"}

# Guest Config
ACPI="-A"
MEM="-m 1G"
IMG_CD="-s 1,ahci-cd,${ISO:-install.iso}"
IMG_HDD="-s 2,virtio-blk,${DISK:-hdd.img},size=20G,split=1G,sparse"
NET="-s 3,virtio-net,vmnet0"
PCI_DEV="-s 0:0,hostbridge -s 31,lpc"
LPC_DEV="-l com1,stdio"

# and now run
exec "$XHYVE" $ACPI $MEM $PCI_DEV $LPC_DEV $NET $IMG_CD $IMG_HDD ${EXTRA:-} -f "kexec,$KERNEL,$INITRD,$CMDLINE"
