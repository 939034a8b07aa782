#!/bin/sh
# A whole machine in one command, in the form of the article: a shell script as configuration file.
# Copy it and change what you like; `man xhyve` explains every option.
#
# Without arguments it boots Debian's cloud kernel to a busybox shell. Environment:
#   XHYVE   the program                 KERNEL, INITRD   other files to boot
#   EXTRA   more options, e.g. "-c 2"
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
XHYVE=${XHYVE:-$top/build/xhyve}

# Linux
KERNEL=${KERNEL:-$("$top/tools/kernel.sh" linux-image-cloud-amd64)}
INITRD=${INITRD:-$("$top/tools/initramfs.sh")}
CMDLINE=${CMDLINE:-"console=ttyS0"}

# Guest config
ACPI="-A"
MEM="-m 512M"
PCI_DEV="-s 0:0,hostbridge -s 31,lpc"
LPC_DEV="-l com1,stdio"

# and now run
exec "$XHYVE" $ACPI $MEM $PCI_DEV $LPC_DEV ${EXTRA:-} -f "kexec,$KERNEL,$INITRD,$CMDLINE"
