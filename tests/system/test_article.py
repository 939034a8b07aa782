"""The article from the first line to the last: examples/install.sh installs a system from a CD, its kernel leaves
by tar and nc, examples/boot.sh starts it from then on. The CD is made from Debian packages (tools/install-cd.sh)."""
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess

import pytest

from machine import PROMPT, TOP, XHYVE, Machine
from network import BUSYBOX, GATEWAY, free_port, web
from test_explain import devices, warnings

IMG = XHYVE + "-img"
PASSWORD = "correct-horse"
STEP_LIMIT = 900  # an installation in software on a busy host; only there to end a hung test
PARTITION = 2048 * 512
NEW_DISK = "hdd.img,size=20G,split=1G,sparse"  # as in the script
NEXT_KERNEL = "linux-image-6.12-cloud-amd64"

pytestmark = pytest.mark.skipif(os.environ.get("XHYVE_CHECK") == "quick", reason="takes minutes")


class Installation:
    """The directory of the article's reader: the CD image, the two scripts, and what comes of them."""

    def __init__(self, path):
        self.path = path
        self.machine = None
        for script in ("install.sh", "boot.sh"):
            shutil.copy(TOP / "examples" / script, path)
        subprocess.run([TOP / "tools" / "install-cd.sh", path / "install.iso"], check=True, stdout=subprocess.DEVNULL)
        for name in ("vmlinuz", "initrd.gz"):
            subprocess.run([IMG, "cp", f"install.iso:/install/{name}", "."], cwd=path, check=True)

    def start(self, script, **environment):
        env = {**os.environ, "XHYVE": XHYVE, **environment}
        self.machine = Machine([], board=False, program=[str(self.path / script)], cwd=str(self.path), env=env)
        return self.machine

    def start_menu(self, *args):
        """A machine that starts what the boot menu in an image has."""
        self.machine = Machine(["-A", "-m", "1G", "-s", "3,virtio-net,vmnet0", *args], cwd=str(self.path))
        return self.machine

    def explain(self, script):
        """What --explain says of the script's machine."""
        return subprocess.run([f"./{script}"], cwd=self.path, env={**os.environ, "XHYVE": XHYVE, "EXTRA": "--explain"},
                              check=True, text=True, stdin=subprocess.DEVNULL, capture_output=True).stdout

    def kill(self):
        if self.machine:
            self.machine.kill()


@pytest.fixture
def place(tmp_path):
    installation = Installation(tmp_path)
    yield installation
    installation.kill()


def choose(m, number):
    m.expect("Choice: ")
    m.child.sendline(str(number))


def partition(m):
    choose(m, 1)
    m.expect("Disk to use.*: ")
    m.child.sendline("")
    m.expect("The disk is ready")


def install(m):
    choose(m, 2)
    m.expect("Name of the machine.*: ")
    m.child.sendline("")
    m.expect("Password of root.*: ")
    m.child.sendline(PASSWORD)


def quiet_shell(m):
    """A prompt that Machine.run knows, without bash's marks around what is typed."""
    m.child.sendline(f"bind 'set enable-bracketed-paste off' 2>/dev/null; PS1='gue''st:/# '")
    return m.shell()


def killed_on_the_way(place):
    """kill -9 while packages are unpacked, as the guest sees it a power cut. The CD's own menu starts this one."""
    m = place.start_menu("-s", "1,ahci-cd,install.iso", "-s", f"2,virtio-blk,{NEW_DISK}", "-f", "iso")
    partition(m)
    install(m)
    m.expect("Extracting 30 of")
    m.child.kill(signal.SIGKILL)
    assert m.wait() == -signal.SIGKILL
    checked = subprocess.run([IMG, "check", "hdd.img"], cwd=place.path, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def copy_partition(disk, partition):
    """The first partition of a raw disk as a file of its own; holes stay holes."""
    with open(disk, "rb") as source, open(partition, "wb") as target:
        end = source.seek(0, os.SEEK_END)
        target.truncate(end - PARTITION)
        at = PARTITION
        while at < end:
            try:
                at = os.lseek(source.fileno(), at, os.SEEK_DATA)
            except OSError:  # nothing but a hole
                break
            hole = os.lseek(source.fileno(), at, os.SEEK_HOLE)
            while at < hole:
                data = os.pread(source.fileno(), min(hole - at, 1 << 20), at)
                os.pwrite(target.fileno(), data, at - PARTITION)
                at += len(data)


def check_file_system(place):
    """The guest's file system is whole, on a copy: 1 says that its journal was replayed."""
    disk, partition = place.path / "disk.raw", place.path / "partition.raw"
    subprocess.run([IMG, "convert", "hdd.img", disk], cwd=place.path, check=True, capture_output=True)
    copy_partition(disk, partition)
    checked = subprocess.run(["/sbin/e2fsck", "-f", "-p", partition], capture_output=True, text=True)
    assert checked.returncode in (0, 1), checked.stdout + checked.stderr
    disk.unlink()
    partition.unlink()


def fetch_kernel(place, m):
    """The article's way: a console, chroot, tar and nc, and nc and tar on the host."""
    choose(m, 3)
    m.child.sendline("chroot /target /bin/bash")
    m.child.sendline("cd /boot")
    quiet_shell(m)
    port = free_port()
    listener = subprocess.Popen(f"{BUSYBOX} nc -l -p {port} | tar x", shell=True, cwd=place.path, stdin=subprocess.PIPE)
    try:
        m.run(f"tar cv vmlinuz-* initrd.img-* | nc -N {GATEWAY} {port}")
        assert listener.wait(timeout=100) == 0
    finally:
        listener.kill()
        listener.stdin.close()
    sums = m.run("md5sum vmlinuz-* initrd.img-*")
    subprocess.run(["md5sum", "-c", "--quiet"], cwd=place.path, input=sums, text=True, check=True)
    m.child.sendline("exit")
    m.child.sendline("exit")


def log_in(m):
    m.expect("guest login: ", timeout=STEP_LIMIT)
    m.child.sendline("root")
    m.expect("Password: ")
    m.child.sendline(PASSWORD)
    m.expect(r"root@guest:~# ")
    return quiet_shell(m)


def check_system(place, m):
    """systemd has started everything, and devices have the names that --explain tells."""
    assert m.run("systemctl is-system-running --wait; true").strip() == "running", m.run("systemctl --failed")
    text = place.explain("boot.sh")
    busy = [w for w in warnings(text) if "is in use by another process" not in w]
    assert busy == []
    card = devices(text)[0, 3, 0]
    name = re.search(r"with systemd (\w+)\n", card).group(1)
    assert m.run(f"cat /sys/class/net/{name}/address").strip() == re.search(r"address +(\S+)", card).group(1)
    assert re.search(r"^/dev/vda1 / ext4 rw", m.run("cat /proc/mounts"), re.M)


def add_package(place, m, package):
    """One more package, from a mirror on the host's loopback."""
    mirror = place.path / "mirror"
    if not mirror.exists():
        subprocess.run(["xorriso", "-osirrox", "on", "-indev", "install.iso", "-extract", "/", mirror],
                       cwd=place.path, check=True, capture_output=True)
    with web(mirror) as port:
        m.run(f"echo 'deb [trusted=yes] http://{GATEWAY}:{port}/ ./' >/etc/apt/sources.list")
        m.run(f"apt-get -q update && apt-get -q -y install {package}", timeout=STEP_LIMIT)


def change_kernel(place):
    """The disk's own menu starts the system, and after a reboot in place the kernel that was installed meanwhile."""
    m = log_in(place.start_menu("--on-reboot=restart", "-s", "2,virtio-blk,hdd.img", "-f", "disk"))
    assert m.run("hello").strip() == "Hello, world!"
    first = m.run("uname -r").strip()
    add_package(place, m, NEXT_KERNEL)
    m.child.sendline("reboot")
    m = log_in(m)
    assert m.run("uname -r").strip().startswith("6.12.") and not first.startswith("6.12.")
    m.child.sendline("poweroff")
    assert m.wait(timeout=STEP_LIMIT) == 1


def starts(place, disk):
    """The disk's menu brings the installed system up, as far as its root file system."""
    m = place.start_menu("-s", f"2,virtio-blk,{disk}", "-f", "disk,append=init=/bin/sh")
    m.expect("job control turned off", timeout=STEP_LIMIT)
    quiet_shell(m)
    assert re.search(r"^/dev/vda1 / ext4 ro", m.run("cat /proc/mounts"), re.M)
    assert m.run("cat /etc/hostname").strip() == "guest"
    assert m.leave("echo b >/proc/sysrq-trigger") == 0


def other_forms(place):
    """The installed disk starts as a raw image, too, and with a GPT in the place of its MBR."""
    disk = place.path / "disk.raw"
    subprocess.run([IMG, "convert", "hdd.img", disk], cwd=place.path, check=True, capture_output=True)
    starts(place, disk)
    sectors = disk.stat().st_size // 512
    os.truncate(disk, (sectors + 2048) * 512)  # room for the GPT's second half
    subprocess.run(["/sbin/sfdisk", "-q", "--wipe", "never", disk], check=True, text=True,
                   input=f"label: gpt\nstart=2048, size={sectors - 2048}, type=L\n")
    assert re.search(r"^1 .*ext4", subprocess.run([IMG, "ls", disk], check=True, text=True, capture_output=True).stdout, re.M)
    starts(place, disk)
    disk.unlink()


def test_article(place):
    assert warnings(place.explain("install.sh")) == []
    killed_on_the_way(place)
    check_file_system(place)
    m = place.start("install.sh")
    partition(m)
    install(m)
    m.expect("The system is installed", timeout=STEP_LIMIT)
    fetch_kernel(place, m)
    choose(m, 4)
    assert m.wait() == 0  # the reboot ends xhyve: "This is correct!"
    m = log_in(place.start("boot.sh"))
    check_system(place, m)
    add_package(place, m, "hello")
    m.child.sendline("reboot")
    assert m.wait(timeout=STEP_LIMIT) == 0
    change_kernel(place)
    checked = subprocess.run([IMG, "check", "hdd.img"], cwd=place.path, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout
    check_file_system(place)
    other_forms(place)
