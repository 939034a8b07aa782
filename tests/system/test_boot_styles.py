"""Boot configurations as distributions have them, on discs and disks of every form, made with the boot loaders' own
packages. Each of them is booted."""
import os
import re
import shutil
import subprocess

import pytest

from machine import _tool, initramfs, kernel
from test_boot_images import explain, refused, start
from test_files import run
from test_img import img

MIB = 1 << 20
UUID = "01234567-89ab-cdef-0123-456789abcdef"
INSTALLER = "usr/lib/debian-installer/images/12/amd64/text"

pytestmark = pytest.mark.skipif(
    not all(shutil.which(p, path=os.environ["PATH"] + ":/sbin:/usr/sbin")
            for p in ("mke2fs", "mkfs.fat", "mcopy", "xorriso", "sfdisk")),
    reason="needs e2fsprogs, dosfstools, mtools, xorriso, fdisk")


def package(name, *paths):
    """Where the files of a Debian package are; it is not installed."""
    return _tool("unpack.sh", name, *paths)


def put(path, what):
    """Text, or a copy of a file, and the directories above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(what, str) and not what.startswith("/"):
        path.write_text(what)
    else:
        shutil.copyfile(what, path)


def in_namespace(script, *args, **env):
    """A shell script as root of a namespace of its own, where it may mount."""
    done = subprocess.run(["unshare", "-rm", "sh", "-ec", script, "sh", *[str(a) for a in args]], text=True, timeout=60,
                          env={**os.environ, **{k: str(v) for k, v in env.items()}}, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


namespaces = pytest.mark.skipif(subprocess.run(["unshare", "-rm", "true"], check=False, capture_output=True).returncode,
                                reason="the host allows no namespaces")


def ext4(tree, image, size="80M", uuid=UUID):
    run("mke2fs", "-q", "-t", "ext4", "-U", uuid, "-d", tree, image, size)
    return image


def fat(tree, image, size=80):
    with open(image, "wb") as f:
        f.truncate(size * MIB)
    run("mkfs.fat", "-F", "32", image)
    run("mcopy", "-s", "-i", image, *tree.iterdir(), "::/")
    return image


def disk(image, label, *parts):
    """A disk with a partition for each (type, file)."""
    table, at = f"label: {label}\n", 1
    for kind, part in parts:
        size = part.stat().st_size // MIB
        table += f"start={at}MiB, size={size}MiB, type={kind}\n"
        at += size
    with open(image, "wb") as f:
        f.truncate((at + 1) * MIB)
    run("sfdisk", image, input=table.encode())
    at = 1
    for kind, part in parts:
        run("dd", f"if={part}", f"of={image}", "bs=1M", f"seek={at}", "conv=notrunc,sparse")
        at += part.stat().st_size // MIB
    return image


def sparse(image):
    """The same as an image in parts."""
    img("convert", str(image), f"{image}.parts,split=16M,sparse")
    return f"{image}.parts"


def boots(slot, source, cmdline):
    """The machine starts, with this command line."""
    machine = start("-s", slot, "-f", source)
    try:
        machine.shell()
        assert machine.run("cat /proc/cmdline").strip() == cmdline
        assert machine.leave("poweroff -f") == 1
    finally:
        machine.kill()


# --- discs ---

def isolinux(tree, image, config, *more):
    """A disc that isolinux starts, in a drive or, by its MBR, on a stick."""
    where = config.parent
    put(where / "isolinux.bin", f"{package('isolinux')}/usr/lib/ISOLINUX/isolinux.bin")
    for module in ("ldlinux.c32", "libutil.c32", "libcom32.c32", "vesamenu.c32"):
        put(where / module, f"{package('syslinux-common')}/usr/lib/syslinux/modules/bios/{module}")
    run("xorriso", "-as", "mkisofs", "-quiet", "-full-iso9660-filenames", "-joliet", "-rational-rock", "-V", "CD",
        "-isohybrid-mbr", f"{package('isolinux')}/usr/lib/ISOLINUX/isohdpfx.bin",
        "-b", (where / "isolinux.bin").relative_to(tree), "-c", (where / "boot.cat").relative_to(tree),
        "-no-emul-boot", "-boot-load-size", "4", "-boot-info-table", *more, "-o", image, tree)
    return image


def test_debian_installer(tmp_path):
    """Debian's own installer, with the menus that it brings for isolinux and GRUB, asks its first question."""
    files = f"{package('debian-installer-12-netboot-amd64', INSTALLER)}/{INSTALLER}"
    tree = tmp_path / "cd"
    shutil.copytree(f"{files}/debian-installer", tree / "debian-installer")
    own = tree / "debian-installer" / "amd64"
    config = tree / "isolinux" / "isolinux.cfg"
    put(config, (own / "boot-screens" / "syslinux.cfg").read_text())
    cd = isolinux(tree, tmp_path / "cd.iso", config)
    facts = explain("-s", f"3,ahci-cd,{cd}", "-f", "iso")
    assert facts["found"] == f"{cd}:/isolinux/isolinux.cfg"
    assert facts["entry 0 *"] == "Install"
    assert {"Advanced options>Expert install", "Accessible dark contrast installer menu>Advanced options>Rescue mode",
            "Help"} <= set(facts.values())
    assert facts["file"].startswith(f"{cd}:/debian-installer/amd64/linux,")
    assert facts["command line"] == "vga=788 initrd=debian-installer/amd64/initrd.gz --- quiet console=ttyS0"
    assert "starts no Linux" in refused("-s", f"3,ahci-cd,{cd}", "-f", "iso,entry=Help")
    put(tree / "boot" / "grub" / "grub.cfg", (own / "grub" / "grub.cfg").read_text())
    cd = isolinux(tree, tmp_path / "both.iso", config)
    facts = explain("-m", "1G", "-s", f"3,ahci-cd,{cd}", "-f", "iso,entry=... Rescue mode")
    assert facts["found"] == f"{cd}:/boot/grub/grub.cfg"
    assert facts["initrd"] == f"{cd}:/debian-installer/amd64/initrd.gz"
    assert facts["command line"] == "vga=788 rescue/enable=true --- quiet console=ttyS0"
    machine = start("-m", "1G", "-s", f"3,ahci-cd,{cd}", "-f", "iso")
    try:
        machine.expect("Choose the language to be used for the installation process")
    finally:
        machine.kill()


ALPINE_CMDLINE = "modules=loop,squashfs,sd-mod,usb-storage quiet console=tty0 console=ttyS0,115200"


def test_alpine_disc(tmp_path):
    """As Alpine's mkimage makes it: syslinux and GRUB, hybrid with a GPT and a FAT for EFI. It starts from a drive,
    as an image in parts, and as a disk, which is what it is on a stick."""
    tree = tmp_path / "cd"
    put(tree / "boot" / "vmlinuz-virt", kernel())
    put(tree / "boot" / "initramfs-virt", initramfs())
    config = tree / "boot" / "syslinux" / "syslinux.cfg"
    put(config, f"""SERIAL 0 115200
TIMEOUT 10
PROMPT 1
DEFAULT virt

LABEL virt
	MENU LABEL Linux virt
	KERNEL /boot/vmlinuz-virt
	INITRD /boot/initramfs-virt
	FDTDIR /boot/dtbs-virt
	APPEND {ALPINE_CMDLINE}
""")
    put(tree / "efi" / "boot" / "bootx64.efi", f"{package('systemd-boot-efi')}/usr/lib/systemd/boot/efi/systemd-bootx64.efi")
    efi = tree / "boot" / "grub" / "efi.img"
    efi.parent.mkdir()
    run("mformat", "-i", efi, "-C", "-f", "1440", "-N", "0", "::")
    run("mcopy", "-i", efi, "-s", tree / "efi", "::")
    cd = isolinux(tree, tmp_path / "alpine.iso", config, "-eltorito-alt-boot", "-e", "boot/grub/efi.img", "-no-emul-boot",
                  "-isohybrid-gpt-basdat")
    assert b"EFI PART" in cd.read_bytes()[512:1024]
    assert explain("-s", f"3,ahci-cd,{cd}", "-f", "iso")["found"] == f"{cd}:/boot/syslinux/syslinux.cfg"
    boots(f"3,ahci-cd,{sparse(cd)}", "iso,entry=Linux virt", ALPINE_CMDLINE)
    boots(f"4,virtio-blk,{cd},ro", "disk", ALPINE_CMDLINE)
    put(tree / "boot" / "grub" / "grub.cfg", f"""set timeout=1
menuentry "Linux virt" {{
	linux	/boot/vmlinuz-virt {ALPINE_CMDLINE} grub=1
	initrd	/boot/initramfs-virt
}}
""")
    cd = isolinux(tree, tmp_path / "grub.iso", config)
    assert explain("-s", f"2,ahci,cd:{cd}", "-f", "iso")["command line"] == f"{ALPINE_CMDLINE} grub=1"


# --- disks ---

def test_alpine_disk(tmp_path):
    """As update-extlinux writes it on a partition of its own for /boot, between others; MBR, split and sparse."""
    boot = tmp_path / "boot"
    put(boot / "vmlinuz-lts", kernel())
    put(boot / "initramfs-lts", initramfs())
    put(boot / "extlinux.conf", f"""# Generated by update-extlinux 6.04_pre1-r15
DEFAULT menu.c32
PROMPT 0
MENU TITLE Alpine/Linux Boot Menu
MENU HIDDEN
MENU AUTOBOOT Alpine will be booted automatically in # seconds.
TIMEOUT 30
LABEL xen-lts
  MENU LABEL Xen + Linux lts
  COM32 mboot.c32
  APPEND xen.gz  --- vmlinuz-lts root=UUID={UUID} --- initramfs-lts

LABEL lts
  MENU DEFAULT
  MENU LABEL Linux lts
  LINUX vmlinuz-lts
  INITRD initramfs-lts
  FDTDIR  dtbs-lts
  APPEND root=UUID={UUID} modules=sd-mod,usb-storage,ext4 quiet rootfstype=ext4

MENU SEPARATOR
""")
    (boot / "boot").symlink_to(".")
    root = tmp_path / "root"
    put(root / "etc" / "alpine-release", "3.20.0\n")
    swap = tmp_path / "swap"
    swap.write_bytes(bytes(4 * MIB))
    image = disk(tmp_path / "a.img", "dos", ("83", ext4(boot, tmp_path / "p1", uuid=UUID.replace("0", "f"))), ("82", swap),
                 ("83", ext4(root, tmp_path / "p3", "8M")))
    boots(f"4,virtio-blk,{sparse(image)}", "disk",
          f"root=UUID={UUID} modules=sd-mod,usb-storage,ext4 quiet rootfstype=ext4 console=ttyS0")


@namespaces
def test_extlinux(tmp_path):
    """The extlinux.conf of Debian's u-boot-menu, on a separate /boot of a raw GPT disk that a SATA controller has."""
    boot = tmp_path / "boot"
    for version in ("6.1.0-9-amd64", "6.1.0-13-amd64"):
        put(boot / f"vmlinuz-{version}", kernel())
        put(boot / f"initrd.img-{version}", initramfs())
    put(tmp_path / "bin" / "linux-version", "#!/bin/sh\n[ $1 = list ] && ls /boot/vmlinuz-* || sort -rV\n")
    (tmp_path / "bin" / "linux-version").chmod(0o755)
    in_namespace('mount -t tmpfs none /boot; cp "$1"/* /boot; sh "$2"; cp -r /boot/extlinux "$1"', boot,
                 f"{package('u-boot-menu')}/usr/sbin/u-boot-update", PATH=f"{tmp_path}/bin:{os.environ['PATH']}",
                 U_BOOT_ROOT="root=/dev/sda1", U_BOOT_PARAMETERS="ro quiet")
    assert "label l1r" in (boot / "extlinux" / "extlinux.conf").read_text()
    image = disk(tmp_path / "a.img", "gpt", ("L", ext4(boot, tmp_path / "p1", "128M")))
    facts = explain("-s", f"4,ahci-hd,{image}", "-f", "disk")
    assert facts["found"] == f"{image}:1:/extlinux/extlinux.conf"
    assert facts["file"].startswith(f"{image}:1:/vmlinuz-6.1.0-13-amd64,")
    facts = explain("-s", f"4,ahci-hd,{image}", "-f", "disk,entry=l1r")
    assert facts["file"].startswith(f"{image}:1:/vmlinuz-6.1.0-9-amd64,")
    boots(f"4,ahci-hd,{image}", "disk", "root=/dev/sda1 ro quiet console=ttyS0")


def test_syslinux(tmp_path):
    """A FAT on which syslinux was installed, the first partition of a raw MBR disk."""
    tree = tmp_path / "tree"
    put(tree / "linux" / "vmlinuz", kernel())
    put(tree / "linux" / "initrd.gz", initramfs())
    put(tree / "syslinux" / "syslinux.cfg", "UI menu.c32\nDEFAULT second\nAPPEND all=1\nTEXT HELP\nlabel none\nENDTEXT\n"
        "LABEL first\n\tKERNEL ../linux/vmlinuz\n\tINITRD ../linux/initrd.gz\n"
        "LABEL second\r\n\tMENU LABEL The ^second\r\n\tlinux /linux/VMLINUZ\r\n\tinitrd /linux/initrd.gz\r\n\tappend own=2\r\n")
    volume = fat(tree, tmp_path / "fat")
    run(f"{package('syslinux')}/usr/bin/syslinux", "--install", "-d", "/syslinux", volume)
    image = disk(tmp_path / "a.img", "dos", ("c", volume))
    facts = explain("-s", f"4,virtio-blk,{image}", "-f", "disk,entry=first")
    assert facts["entry 1"] == "The second" and "entry 2" not in facts
    assert facts["file"].startswith(f"{image}:1:/syslinux/../linux/vmlinuz,")
    assert facts["command line"] == "all=1 console=ttyS0"
    boots(f"4,virtio-blk,{image}", "disk", "own=2 console=ttyS0")


@namespaces
def test_systemd_boot(tmp_path):
    """bootctl makes the file system for EFI, kernel-install its entries; a GPT disk, split and sparse."""
    esp, root = tmp_path / "esp", tmp_path / "root"
    esp.mkdir()
    (root / "esp").mkdir(parents=True)
    put(root / "etc" / "os-release", "ID=debian\n")
    put(root / "etc" / "kernel" / "entry-token", "debian\n")
    shutil.copytree(f"{package('systemd-boot-efi')}/usr/lib/systemd/boot", root / "usr" / "lib" / "systemd" / "boot")
    conf = tmp_path / "conf"
    put(conf / "install.conf", "layout=bls\n")
    put(conf / "cmdline", "root=LABEL=x ro quiet\n")
    put(conf / "entry-token", "debian\n")
    systemd = f"{package('systemd')}/usr"
    in_namespace('mount -t tmpfs none "$1/esp"; "$2" --root="$1" --esp-path=/esp --no-variables '
                 '--entry-token=literal:debian --make-entry-directory=yes install; '
                 'for v in 6.1.0-9 6.1.0-13; do LD_LIBRARY_PATH= "$3" add $v "$4" "$5"; done; cp -r "$1/esp/." "$6"', root,
                 f"{package('systemd-boot')}/usr/bin/bootctl", f"{systemd}/bin/kernel-install", kernel(), initramfs(), esp,
                 LD_LIBRARY_PATH=f"{package('libsystemd-shared')}/usr/lib/x86_64-linux-gnu/systemd",
                 SYSTEMD_RELAX_ESP_CHECKS=1, BOOT_ROOT=root / "esp", KERNEL_INSTALL_CONF_ROOT=conf, MACHINE_ID="0" * 31 + "1",
                 KERNEL_INSTALL_PLUGINS=f"{systemd}/lib/kernel/install.d/90-loaderentry.install")
    assert len(list((esp / "loader" / "entries").iterdir())) == 2 and (esp / "EFI/BOOT/BOOTX64.EFI").exists()
    image = disk(tmp_path / "a.img", "gpt", ("U", fat(esp, tmp_path / "p1", 96)), ("L", ext4(conf, tmp_path / "p2", "8M")))
    facts = explain("-s", f"4,virtio-blk,{image}", "-f", "disk")
    assert facts["found"] == f"{image}:1:/loader/entries"
    assert facts["file"].startswith(f"{image}:1:/debian/6.1.0-13/linux,")
    put(esp / "loader" / "loader.conf", "timeout 3\ndefault debian-6.1.0-9.conf\n")
    image = disk(tmp_path / "b.img", "gpt", ("U", fat(esp, tmp_path / "p1", 96)))
    assert explain("-s", f"4,virtio-blk,{image}", "-f", "disk")["file"].startswith(f"{image}:1:/debian/6.1.0-9/linux,")
    boots(f"4,virtio-blk,{sparse(image)}", "disk", "root=LABEL=x ro quiet console=ttyS0")
