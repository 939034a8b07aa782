"""Multiboot kernels of every form: what they are given, what is refused; and Xen with a Linux as its first guest."""
import bz2
import gzip
import lzma
import os
import pathlib
import subprocess

import pytest

from machine import BOARD, TOP, XHYVE, Machine, initramfs, kernel

ACCELS = ["interp", "jit"] + (["kvm"] if os.access("/dev/kvm", os.R_OK | os.W_OK) else [])
EXIT = 0x2a * 2 + 1
MIB = 1 << 20


def build(directory, kind, *flags):
    """The test kernel as an ELF file of 32 or 64 bits, or flat."""
    wide, flat = kind == "elf64", kind == "flat"
    obj, elf = directory / f"{kind}.o", directory / f"{kind}.elf"
    source = str(TOP / "tests/system/multiboot.S")
    subprocess.run(["gcc", "-E", *flags, *(["-DFLAT"] if flat else []), "-o", f"{obj}.s", source], check=True)
    subprocess.run(["as", "--64" if wide else "--32", "-o", str(obj), f"{obj}.s"], check=True)
    subprocess.run(["ld", "-m", "elf_x86_64" if wide else "elf_i386", "-N", "-Ttext=0x200000", "--build-id=none",
                    "--no-warn-rwx-segments", "-o", str(elf), str(obj)], check=True)
    if not flat:
        return elf
    out = directory / "flat.bin"
    subprocess.run(["objcopy", "-O", "binary", str(elf), str(out)], check=True)
    return out


def pack(image, how):
    """The same kernel, compressed as a whole."""
    packed = image.with_suffix(".packed")
    packed.write_bytes(how(image.read_bytes()))
    return packed


def run(*options, firmware):
    return subprocess.run([XHYVE, "-m", "64M", *BOARD, "-l", "debugexit", *options, "-f", firmware],
                          stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)


def facts(done):
    """The lines that the kernel printed, as lists of words by their first one."""
    assert (done.returncode, done.stderr) == (EXIT, b""), done
    lines = [line.split(" ") for line in done.stdout.decode().splitlines()]
    assert lines.pop() == ["end"]
    found = {}
    for name, *words in lines:
        found.setdefault(name, []).append([word for word in words if word])
    return found


@pytest.mark.parametrize("accel", ACCELS)
@pytest.mark.parametrize("kind", ["elf32", "elf64", "flat", "flat.gz"])
def test_what_a_kernel_gets(tmp_path, accel, kind):
    image = build(tmp_path, kind.removesuffix(".gz"))
    if kind.endswith(".gz"):
        image = pack(image, gzip.compress)
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(bytes(range(256)) * 20 + b"!")
    two.write_bytes(b"\1\2\3")
    found = facts(run(f"--accel={accel}", "-A", firmware=f"multiboot,{image},{one};a=1 b:{two},words with, a comma"))
    assert found["state"] == [["00000001", "00000000", "00000000"]]
    magic, flags, lower, upper = (int(word, 16) for word in found["magic"][0])
    assert magic == 0x2badb002 and flags & 0x24d == 0x24d and lower == 639
    assert " ".join(found["cmdline"][0]) == f"{image} words with, a comma"
    assert found["loader"] == [["xhyve"]]
    end = 0
    for path, args, (start, stop, total, *text) in zip((one, two), (["a=1", "b"], []), found["module"]):
        data = path.read_bytes()
        start, stop = int(start, 16), int(stop, 16)
        assert start % 4096 == 0 and start >= max(end, 2 * MIB) and stop - start == len(data)
        assert int(total, 16) == sum(data) and text == [str(path), *args]
        end = stop
    memory = [(int(w[0] + w[1], 16), int(w[2] + w[3], 16), int(w[4], 16)) for w in found["memory"]]
    assert memory[0] == (0, 0x9fc00, 1) and memory[2][0] == MIB and memory[2][2] == 1
    assert memory[2][1] == upper * 1024
    assert all(a[0] + a[1] <= b[0] for a, b in zip(memory, memory[1:]))
    assert {3, 4} <= {region[2] for region in memory}  # ACPI
    assert sum(size for at, size, _ in memory if MIB <= at < 64 * MIB) == 63 * MIB


def test_without_anything(tmp_path):
    """No modules, no words; more memory than 4 GiB can address."""
    image = build(tmp_path, "elf32")
    found = facts(run("--accel=interp", "-m", "5G", firmware=f"multiboot,{image}"))
    assert found["cmdline"] == [[str(image)]] and "module" not in found
    assert found["memory"][-1][0:2] == ["00000001", "00000000"]


@pytest.mark.parametrize("accel", ACCELS)
def test_restart(tmp_path, accel):
    """A kernel that resets the machine starts again in place; kernel and module are read anew each time."""
    module, kernel_file = tmp_path / "module", tmp_path / "kernel"
    module.write_bytes(b"\3")
    os.replace(build(tmp_path, "elf32", "-DRESET"), kernel_file)
    m = Machine([f"--accel={accel}", "-m", "64M", "-l", "debugexit", "--on-reboot=restart",
                 "-f", f"multiboot,{kernel_file},{module};a b"])
    try:
        for _ in range(20):
            m.expect(f" 00000003 {module} a b")
        (tmp_path / "new").write_bytes(b"\4\1")
        os.replace(tmp_path / "new", module)
        m.expect(f" 00000005 {module} a b")
        os.replace(build(tmp_path, "elf32"), kernel_file)
        assert m.wait() == EXIT
    finally:
        m.kill()


@pytest.mark.parametrize("change,words", [
    (lambda b: b.replace(b"\x02\xb0\xad\x1b", b"\x03\xb0\xad\x1b"), "no Multiboot header"),
    (lambda b: b[:300], "truncated"),
    (lambda b: b[:18] + b"\x08\0" + b[20:], "ELF"),
])
def test_refused(tmp_path, change, words):
    image = build(tmp_path, "elf32")
    image.write_bytes(change(image.read_bytes()))
    done = run(firmware=f"multiboot,{image}")
    assert done.returncode == 4 and done.stdout == b"" and words in done.stderr.decode(), done


@pytest.mark.parametrize("how,words", [
    (lambda b: gzip.compress(b)[:-20], "damaged"),
    (lambda b: gzip.compress(b[:100]), "no Multiboot header"),
    (lambda b: gzip.compress(bytes(100 * MIB)), "File too large"),
])
def test_packed_refused(tmp_path, how, words):
    image = pack(build(tmp_path, "elf32"), how)
    done = run(firmware=f"multiboot,{image}")
    assert done.returncode == 4 and done.stdout == b"" and words in done.stderr.decode(), done


@pytest.mark.parametrize("how", [bz2.compress, lzma.compress])
def test_other_packers(tmp_path, how):
    image = pack(build(tmp_path, "elf64"), how)
    assert facts(run("--accel=interp", firmware=f"multiboot,{image}"))["cmdline"] == [[str(image)]]


def test_modules_that_do_not_fit(tmp_path):
    image, large = build(tmp_path, "flat"), tmp_path / "large"
    with large.open("wb") as f:
        f.truncate(100 * MIB)
    done = run(firmware=f"multiboot,{image},{large}")
    assert done.returncode == 4 and "large" in done.stderr.decode() and "does not fit" in done.stderr.decode(), done
    done = run(firmware=f"multiboot,{image},{tmp_path}/none")
    assert done.returncode == 4 and "none" in done.stderr.decode(), done


def test_xen():
    """Xen, and in it Linux at its prompt. There is no BIOS, so Xen must not look for one."""
    package, xen = "linux-image-amd64", kernel("xen-hypervisor-4.17-amd64")
    assert pathlib.Path(xen).read_bytes()[:2] == b"\x1f\x8b"  # as Debian packs it
    modules = f"{kernel(package)};console=hvc0 quiet:{initramfs(package)}"
    m = Machine(["-A", "-m", "1G", "-f", f"multiboot,{xen},{modules},no-real-mode com1=115200,8n1 console=com1 "
                 "dom0_mem=512M"])
    try:
        m.expect(r"Xen version 4\.")
        m.expect("Serial input to DOM0")
        m.shell()
        m.child.sendline("echo TYPE $(cat /sys/hypervisor/type)")
        m.expect("TYPE xen")
        assert m.leave("poweroff") == 1
    finally:
        m.kill()
