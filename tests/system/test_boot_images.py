"""Kernels from inside images: -f iso, -f disk, and IMAGE:/PATH in -f kexec."""
import fcntl
import os
import pathlib
import re
import shutil
import subprocess

import pytest

from machine import BOARD, XHYVE, Machine, initramfs, kernel
from test_control import Control
from test_files import run
from test_img import img

pytestmark = pytest.mark.skipif(
    not all(shutil.which(p, path=os.environ["PATH"] + ":/sbin:/usr/sbin") for p in ("mke2fs", "xorriso", "sfdisk")),
    reason="needs e2fsprogs, xorriso, fdisk")
MIB = 1 << 20

UBUNTU = """set timeout=30
loadfont unicode
set menu_color_normal=white/black
menuentry "Try or Install Ubuntu Server" {
	set gfxpayload=keep
	linux	/casper/vmlinuz  --- first=1
	initrd	/casper/initrd
}
menuentry 'Ubuntu Server, with the HWE kernel' {
	linux	/casper/vmlinuz  --- hwe=1
	initrd	/casper/initrd
}
grub_platform
if [ "$grub_platform" = "efi" ]; then
menuentry 'Boot from next volume' {
	exit 1
}
fi
"""

DEBIAN = """set default="0"
if [ x"${feature_menuentry_id}" = xy ]; then
  menuentry_id_option="--id"
fi
function load_video {
  insmod all_video
}
menuentry 'Debian GNU/Linux' --class debian $menuentry_id_option 'gnulinux-simple-1' {
	load_video
	search --no-floppy --fs-uuid --set=root 01234567-89ab-cdef-0123-456789abcdef
	linux	/boot/vmlinuz-1 root=/dev/vda1 ro number=1
	initrd	/boot/initrd.img-1
}
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """An ISO, an MBR disk with an ext4 root in a logical partition, a GPT disk with an ESP and the same root."""
    top = tmp_path_factory.mktemp("images")
    cd = top / "cd"
    (cd / "boot" / "grub").mkdir(parents=True)
    (cd / "casper").mkdir()
    (cd / "boot" / "grub" / "grub.cfg").write_text(UBUNTU)
    shutil.copy(kernel(), cd / "casper" / "vmlinuz")
    shutil.copy(initramfs(), cd / "casper" / "initrd")
    run("xorriso", "-as", "mkisofs", "-quiet", "-R", "-J", "-o", top / "cd.iso", cd)
    root = top / "root"
    (root / "boot" / "grub").mkdir(parents=True)
    (root / "boot" / "grub" / "grub.cfg").write_text(DEBIAN)
    shutil.copy(kernel(), root / "boot" / "vmlinuz-1")
    shutil.copy(initramfs(), root / "boot" / "initrd.img-1")
    (root / "vmlinuz").symlink_to("boot/vmlinuz-1")
    run("mke2fs", "-q", "-t", "ext4", "-U", "01234567-89ab-cdef-0123-456789abcdef", "-d", root, top / "ext", "80M")
    for name, table in (("gpt", b"label: gpt\nstart=1MiB, size=2MiB, type=U\nstart=4MiB, size=80MiB\n"),
                        ("mbr", b"label: dos\nstart=3MiB, size=92MiB, type=5\nstart=4MiB, size=80MiB\n")):
        with open(top / name, "wb") as f:
            f.truncate(96 * MIB)
        run("sfdisk", top / name, input=table)
        run("dd", f"if={top / 'ext'}", f"of={top / name}", "bs=1M", "seek=4", "conv=notrunc")
    return top


def xhyve(*args, status):
    """Runs xhyve without terminal; returns its output and messages."""
    done = subprocess.run([XHYVE, *BOARD, *[str(a) for a in args]], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert done.returncode == status, (done.stdout, done.stderr)
    return done


def explain(*args):
    """What --explain says about what is started: a dictionary of the kernel's paragraph, and the menu."""
    text = xhyve("--explain", "-m", "1G", *args, status=0).stdout
    facts = {}
    for paragraph in ("boot menu", "kernel"):
        found = re.search(rf"^{paragraph}\n((?:  .*\n)+)", text, re.M)
        for line in found.group(1).splitlines() if found else []:
            facts.setdefault(line[:16].strip(), line[16:])
    return facts


def refused(*args, status=4):
    """The message, which is one line."""
    lines = xhyve(*args, status=status).stderr.splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def start(*args):
    return Machine(["-A", "-m", "512M", *[str(a) for a in args]])


def test_iso_boots_and_again_in_place(files, tmp_path):
    """A reset starts the disc that is in the drive by then."""
    again = tmp_path / "cd"
    for path in ("casper/vmlinuz", "casper/initrd"):
        img("cp", f"{files}/cd.iso:/{path}", str(tmp_path))
    (again / "boot" / "grub").mkdir(parents=True)
    (again / "boot" / "grub" / "grub.cfg").write_text("menuentry B { linux /vmlinuz second=1 ; initrd /initrd ; }\n")
    for path in ("vmlinuz", "initrd"):
        (tmp_path / path).rename(again / path)
    run("xorriso", "-as", "mkisofs", "-quiet", "-R", "-o", tmp_path / "again.iso", again)
    control = Control(tmp_path / "ctl.sock")
    machine = start("-s", f"3,ahci-cd,{files}/cd.iso", f"--control=unix:{control.path}", "--on-reboot=restart",
                    "-f", "iso,append=more=1,2 xhyve.x=y")
    try:
        machine.shell()
        assert machine.run("cat /proc/cmdline").strip() == "--- first=1 console=ttyS0 more=1,2 xhyve.x=y"
        machine.child.sendline("reboot -f")
        machine.shell()
        assert machine.run("cat /proc/cmdline").strip() == "--- first=1 console=ttyS0 more=1,2 xhyve.x=y"
        control.run("insert", "cd", str(tmp_path / "again.iso"))
        machine.child.sendline("reboot -f")
        machine.shell()
        assert machine.run("cat /proc/cmdline").strip() == "second=1 console=ttyS0 more=1,2 xhyve.x=y"
        control.run("eject", "cd")
        machine.child.sendline("reboot -f")
        machine.expect("xhyve: -f iso: no drive has a disc any more")
        assert machine.wait() == 4
    finally:
        machine.kill()


def change_kernel(machine, number):
    """Another kernel and menu on the disk, as an update of the guest's system makes them."""
    machine.run(f"mount -t ext4 /dev/vda5 /mnt && mv /mnt/boot/vmlinuz-* /mnt/boot/vmlinuz-{number} && sed -i "
                f"'s/vmlinuz-[0-9]/vmlinuz-{number}/; s/number=[0-9]/number={number}/' /mnt/boot/grub/grub.cfg")


def test_disk_boots_and_again_with_another_kernel(files, tmp_path):
    """From a split and sparse image with an MBR; what the guest changes on its disk counts at the next start, of
    another process and in place. The guest need not unmount it: the journal is read, too."""
    disk = tmp_path / "hdd.img"
    img("convert", str(files / "mbr"), f"{disk},split=16M,sparse")
    machine = start("-s", f"4,virtio-blk,{disk}", "-f", "disk")
    try:
        machine.shell()
        assert machine.run("cat /proc/cmdline").strip() == "root=/dev/vda1 ro number=1 console=ttyS0"
        change_kernel(machine, 2)
        machine.run("umount /mnt")
        assert machine.leave("reboot -f") == 0
    finally:
        machine.kill()
    machine = start("--on-reboot=restart", "-s", f"4,virtio-blk,{disk}", "-f", "disk")
    try:
        machine.shell()
        assert "number=2" in machine.run("cat /proc/cmdline")
        change_kernel(machine, 3)
        machine.child.sendline("sync; echo b >/proc/sysrq-trigger")
        machine.shell()
        assert "number=3" in machine.run("cat /proc/cmdline")
        assert machine.leave("poweroff -f") == 1
    finally:
        machine.kill()
    assert "vmlinuz-3" in img("ls", f"{disk}:/boot").stdout


def test_kexec_inside_images(files):
    """The kernel from a GPT disk, through a link; the initrd from a CD. When the
    machine starts again the link leads to another kernel."""
    machine = start("--on-reboot=restart", "-s", f"4,virtio-blk,{files}/gpt", "-f",
                    f"kexec,{files}/gpt:/vmlinuz,{files}/cd.iso:/casper/initrd,console=ttyS0 its=own")
    try:
        machine.shell()
        assert machine.run("cat /proc/cmdline").strip() == "console=ttyS0 its=own"
        machine.run("mount -t ext4 /dev/vda2 /mnt && cd /mnt && mv boot/vmlinuz-1 boot/vmlinuz-new && "
                    "ln -sf boot/vmlinuz-new vmlinuz && cd / && umount /mnt")
        machine.child.sendline("reboot -f")
        machine.shell()
        machine.run("mount -t ext4 /dev/vda2 /mnt && mv /mnt/boot/vmlinuz-new /mnt/boot/vmlinuz-1 && umount /mnt")
        assert machine.leave("poweroff -f") == 1
    finally:
        machine.kill()


def test_explain(files, tmp_path):
    facts = explain("-s", f"3,ahci-cd,{files}/cd.iso", "-f", "iso,entry=HWE")
    assert facts["found"] == f"{files}/cd.iso:/boot/grub/grub.cfg"
    assert facts["entry 0"] == "Try or Install Ubuntu Server"
    assert facts["entry 1 *"] == "Ubuntu Server, with the HWE kernel"
    assert facts["command line"] == "--- hwe=1 console=ttyS0"
    for names in (("-rockridge", "off", "-joliet", "on"), ("-rockridge", "off", "-joliet", "off")):
        disc = tmp_path / f"{'-'.join(names)}.iso"
        run("xorriso", *names, "-outdev", disc, "-map", files / "cd", "/")
        facts = explain("-s", f"3,ahci-cd,{disc}", "-f", "iso,entry=1")
        assert facts["file"].startswith(f"{disc}:/casper/vmlinuz,") and facts["initrd"].startswith(f"{disc}:/casper/initrd")
    facts = explain("-s", f"4,virtio-blk,{files}/gpt,ro", "-f", "disk")
    assert facts["file"].startswith(f"{files}/gpt:2:/boot/vmlinuz-1,")
    assert facts["initrd"] == f"{files}/gpt:2:/boot/initrd.img-1"
    facts = explain("-s", f"2,ahci,cd:{files}/cd.iso,hd:{files}/mbr", "-f", "disk,append=console=ttyS1")
    assert facts["command line"] == "root=/dev/vda1 ro number=1 console=ttyS1"
    for slots, console in (("5,virtio-console,stdio", "hvc0"), ("5,virtio-console,port=a,null 6,uart,stdio", "ttyS2"),
                           ("7,uart,null 6,uart 5,virtio-console,stdio", "hvc0"), ("7,uart,stdio 6,uart", "ttyS3")):
        options = [word for slot in slots.split() for word in ("-s", slot)]
        facts = explain("-l", "com1", "-s", f"4,virtio-blk,{files}/gpt,ro", *options, "-f", "disk")
        assert facts["command line"] == f"root=/dev/vda1 ro number=1 console={console}"


def test_refused(files, tmp_path):
    cd = ("-s", f"3,ahci-cd,{files}/cd.iso")
    assert "no slot has a CD" in refused("-f", "iso", status=64)
    assert "no slot has a disk" in refused(*cd, "-f", "disk", status=64)
    assert "nothing.iso" in refused("-s", "3,ahci-cd,nothing.iso", "-f", "iso")
    said = refused(*cd, "-f", "iso,entry=Debian")
    assert 'no boot entry "Debian"; there are 0 "Try or Install Ubuntu Server", 1 "Ubuntu' in said
    for text, words in (("", "no boot configuration"), ("menuentry x { linux /vmlinuz }", "no /vmlinuz in the image")):
        (tmp_path / "cd" / "boot" / "grub").mkdir(parents=True, exist_ok=True)
        (tmp_path / "cd" / "boot" / "grub" / "grub.cfg").write_text(text)
        run("xorriso", "-as", "mkisofs", "-quiet", "-J", "-o", tmp_path / "no.iso", tmp_path / "cd")
        for more in ((), ("--explain",)):
            assert words in refused("-s", f"3,ahci-cd,{tmp_path}/no.iso", "-f", "iso", *more)
    empty = tmp_path / "empty.img"
    run("mke2fs", "-q", "-t", "ext4", empty, "4M")
    assert "no boot configuration" in refused("-s", f"4,virtio-blk,{empty}", "-f", "disk")
    said = refused("-s", f"4,virtio-blk,{tmp_path}/new,size=1G", "-f", "disk")
    assert "new: no such image" in said and not (tmp_path / "new").exists()
    assert "no /none in" in refused("-f", f"kexec,{files}/gpt:/none")
    assert "no partition 7" in refused("-f", f"kexec,{files}/gpt:7:/vmlinuz")
    assert "nowhere.img: no such image" in refused("-f", "kexec,nowhere.img:/vmlinuz")
    with open(files / "gpt", "r+b") as held:
        fcntl.lockf(held, fcntl.LOCK_EX)
        assert "in use" in refused("-s", f"4,virtio-blk,{files}/gpt", "-f", "disk")


def test_images_in_the_place_of_kernels(files, tmp_path):
    """What somebody who has only an image tries first leads to what works."""
    img("create", f"{tmp_path}/s.img,size=96M,split=32M,sparse")
    assert "neither" not in refused("-f", f"kexec,{files}/cd.iso")
    said = refused("-f", f"kexec,{files}/cd.iso,,console=ttyS0")
    assert f"is the image of a CD: {files}/cd.iso:/PATH names a file in it, and -f iso starts what" in said
    for disk in ("gpt", "mbr", "ext"):
        assert "is the image of a disk" in refused("-f", f"kexec,{files}/{disk}")
    assert f"{tmp_path}/s.img: No such file" in refused("-f", f"kexec,{tmp_path}/s.img")  # nothing on it
    img("convert", str(files / "mbr"), f"{tmp_path}/t.img,split=32M,sparse")
    assert "is the image of a disk: " in refused("-f", f"kexec,{tmp_path}/t.img")
    with open(tmp_path / "big.iso", "wb") as big:  # a DVD
        big.write((files / "cd.iso").read_bytes())
        big.truncate(5 << 30)
    assert "is the image of a CD" in refused("-f", f"kexec,{tmp_path}/big.iso")
    said = refused("-f", f"kexec,{files}/cd.iso:casper/vmlinuz")
    assert f"begins with a slash: {files}/cd.iso:/casper/vmlinuz" in said
    said = refused("-s", f"3,ahci-cd,{files}/cd.iso", "-f", "kexec,vmlinuz,initrd.gz")
    assert f"vmlinuz: No such file or directory; {files}/cd.iso:/PATH would name one on the CD, and -f iso" in said
    (tmp_path / "text").write_text("no kernel\n")
    assert "neither a Linux bzImage nor an ELF file" in refused("-f", f"kexec,{tmp_path}/text")


@pytest.mark.parametrize("text,words", [
    ("while true; do set a=b; done", "does not come to an end"),
    ("function f { f; }\nf", "nested too deeply"),
    ("source /boot/grub/grub.cfg", "include each other"),
    ("menuentry x { linux /../../etc/passwd }", "no /../../etc/passwd"),
    ("menuentry x { linux (hd7,1)/vmlinuz }", "its disk is not there"),
], ids=["loop", "recursion", "include", "outside", "device"])
def test_hostile_configuration(tmp_path, text, words):
    (tmp_path / "t" / "boot" / "grub").mkdir(parents=True)
    (tmp_path / "t" / "boot" / "grub" / "grub.cfg").write_text(text)
    run("mke2fs", "-q", "-t", "ext4", "-d", tmp_path / "t", tmp_path / "d", "4M")
    assert words in refused("-s", f"4,virtio-blk,{tmp_path}/d", "-f", "disk")


@pytest.mark.parametrize("path,text,words", [
    ("isolinux/isolinux.cfg", "include isolinux.cfg\nlabel x\nkernel k\n", "include each other"),
    ("isolinux/isolinux.cfg", "menu begin\n" * 9 + "label x\nkernel k\n", "nested too deeply"),
    ("isolinux/isolinux.cfg", "label x\nkernel k\n" * 600, "more than 512 entries"),
    ("extlinux/extlinux.conf", "label x\nkernel ../../../../../../etc/passwd\n", "no /extlinux/../../../../../../etc/passwd"),
    ("syslinux/syslinux.cfg", "label x\nkernel k\nappend " + "a" * 9000, "too long"),
    ("syslinux/syslinux.cfg", "#" * (2 << 20), "too large"),
    ("loader/entries/{}.conf", "linux /k\n", "more than 64 boot loader entries"),
    ("loader/entries/a.conf", "linux /k\n" + "initrd /i\n" * 20, "more than 16 initrds"),
], ids=["include", "depth", "entries", "outside", "options", "size", "files", "initrds"])
def test_hostile_menu(tmp_path, path, text, words):
    for n in range(70 if "{}" in path else 1):
        file = tmp_path / "t" / path.format(n)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    run("xorriso", "-as", "mkisofs", "-quiet", "-R", "-o", tmp_path / "d.iso", tmp_path / "t")
    assert words in refused("-s", f"3,ahci-cd,{tmp_path}/d.iso", "-f", "iso")


def make_image(tmp_path, tree):
    run("mke2fs", "-q", "-t", "ext4", "-U", "01234567-89ab-cdef-0123-456789abcdef", "-d", tree, tmp_path / "image", "80M")
    return tmp_path / "image"


@pytest.mark.skipif(not pathlib.Path("/etc/grub.d/10_linux").exists(), reason="needs grub-common")
def test_grub_of_the_package(tmp_path):
    """Debian's own scripts write the grub.cfg of a system with two kernels."""
    tree = tmp_path / "tree"
    (tree / "boot" / "grub").mkdir(parents=True)
    for version in ("6.1.0-9-amd64", "6.1.0-13-amd64"):
        shutil.copy(kernel(), tree / "boot" / f"vmlinuz-{version}")
        shutil.copy(initramfs(), tree / "boot" / f"initrd.img-{version}")
        (tree / "boot" / f"config-{version}").write_text("CONFIG_X=y\n")
    probe = tmp_path / "grub-probe"
    probe.write_text('#!/bin/sh\ncase "$*" in *abstraction*) ;; *fs_uuid*) echo 01234567-89ab-cdef-0123-456789abcdef ;;\n'
                     '*partmap*) echo gpt ;; *compatibility_hint*) echo hd0,gpt2 ;; *"-t fs"*|*target=fs*) echo ext2 ;;\n'
                     '*hints_string*) echo --hint-bios=hd0,gpt2 ;; *device*) echo /dev/vda2 ;; *) echo ext2 ;; esac\n')
    relpath = tmp_path / "grub-mkrelpath"
    relpath.write_text(f'#!/bin/sh\nfor last; do :; done\necho "${{last#{tree}}}"\n')
    for tool in (probe, relpath):
        tool.chmod(0o755)
    env = dict(os.environ, PATH=os.environ["PATH"] + ":/sbin:/usr/sbin", grub_probe=str(probe),
               grub_mkrelpath=str(relpath), pkgdatadir="/usr/share/grub", GRUB_DEVICE="/dev/vda2",
               GRUB_DEVICE_UUID="01234567-89ab-cdef-0123-456789abcdef", GRUB_DEVICE_BOOT="/dev/vda2",
               GRUB_DEVICE_BOOT_UUID="01234567-89ab-cdef-0123-456789abcdef", GRUB_FS="ext2", GRUB_DISTRIBUTOR="Debian",
               GRUB_CMDLINE_LINUX_DEFAULT="quiet", GRUB_DEFAULT="saved", GRUB_TIMEOUT="5", GRUB_TERMINAL="console")
    text = ""
    for script in ("00_header", "10_linux", "41_custom"):
        body = pathlib.Path("/etc/grub.d", script).read_text()
        body = re.sub(r"(?<![\w}])/boot\b", f"{tree}/boot", body).replace("/vmlinuz-*", "/none-*", 0)
        done = subprocess.run(["sh", "-c", body, script], env=env, cwd=tmp_path, stdout=subprocess.PIPE, text=True,
                              stderr=subprocess.PIPE, check=False, timeout=60)
        assert done.returncode == 0, done.stderr
        text += done.stdout
    text = text.replace(str(tree), "")
    assert text.count("menuentry ") >= 3, text
    (tree / "boot" / "grub" / "grub.cfg").write_text(text)
    (tree / "boot" / "grub" / "grubenv").write_text(
        "# GRUB Environment Block\nsaved_entry=gnulinux-advanced-01234567-89ab-cdef-0123-456789abcdef>"
        "gnulinux-6.1.0-9-amd64-advanced-01234567-89ab-cdef-0123-456789abcdef\n".ljust(1024, "#"))
    image = make_image(tmp_path, tree)
    facts = explain("-s", f"4,virtio-blk,{image}", "-f", "disk")
    assert facts["file"].startswith(f"{image}:/boot/vmlinuz-6.1.0-9-amd64,")
    assert facts["initrd"] == f"{image}:/boot/initrd.img-6.1.0-9-amd64"
    assert re.match(r"root=\S+ ro +quiet console=ttyS0$", facts["command line"])
    facts = explain("-s", f"4,virtio-blk,{image}", "-f", "disk,entry=0")
    assert facts["file"].startswith(f"{image}:/boot/vmlinuz-6.1.0-13-amd64,")


@pytest.mark.skipif(not shutil.which("grub-mkrescue"), reason="needs grub-common and a grub image package")
def test_iso_of_grub_mkrescue(tmp_path):
    tree = tmp_path / "tree"
    (tree / "boot" / "grub").mkdir(parents=True)
    (tree / "boot" / "grub" / "grub.cfg").write_text("menuentry one { linux /boot/k a=1 ; initrd /boot/i /boot/i }\n")
    shutil.copy(kernel(), tree / "boot" / "k")
    shutil.copy(initramfs(), tree / "boot" / "i")
    done = subprocess.run(["grub-mkrescue", "-o", str(tmp_path / "r.iso"), str(tree)], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, check=False, timeout=120)
    if done.returncode:
        pytest.skip(f"grub-mkrescue cannot: {done.stdout[-200:]}")
    facts = explain("-s", f"3,ahci-cd,{tmp_path}/r.iso", "-f", "iso")
    assert facts["file"].startswith(f"{tmp_path}/r.iso:/boot/k,")
    assert facts["command line"] == "a=1 console=ttyS0"
