"""Stock Debian kernels reach a busybox shell, find the whole machine, and leave with the right status."""
import datetime
import os
import pathlib
import re
import subprocess

import pytest

CLOUD_61 = "linux-image-cloud-amd64"
GENERIC_61 = "linux-image-amd64"
CLOUD_612 = "linux-image-6.12-cloud-amd64"
GENERIC_612 = "linux-image-6.12-amd64"
QUICK = os.environ.get("XHYVE_CHECK") == "quick"

# Debian's cloud kernels are built without MP table support: without ACPI they see one CPU.
NO_MPTABLE = {CLOUD_61, CLOUD_612}
# What every Linux says when a machine has no ACPI tables (here: no -A), and what it then concludes.
WITHOUT_ACPI = r"A valid RSDP was not found|Boot CPU \(id 0\) not listed by BIOS"

# kernel, CPUs, memory, other options: every kernel, every CPU count, every option at least once
MATRIX = [
    (CLOUD_61, 1, "512M", ["-A"]),
    (CLOUD_61, 2, "1G", ["-A", "-x"]),
    (CLOUD_61, 4, "512M", ["-A", "-Y"]),
    (CLOUD_61, 1, "128M", []),
    (CLOUD_61, 2, "512M", []),
    (CLOUD_61, 1, "512M", ["-Y"]),
    (CLOUD_612, 1, "512M", ["-A"]),
    (CLOUD_612, 2, "4G", ["-A"]),
    (CLOUD_612, 4, "512M", ["-x"]),
    (GENERIC_61, 1, "512M", ["-A"]),
    (GENERIC_61, 4, "2G", ["-A", "-x"]),
    (GENERIC_612, 2, "1G", ["-A"]),
    (GENERIC_612, 2, "512M", []),
    (GENERIC_61, 2, "512M", ["-x"]),
    (CLOUD_61, 1, "512M", ["-A", "--accel=interp"]),
    (GENERIC_612, 2, "512M", ["-A", "-x", "--accel=interp"]),
    (CLOUD_61, 1, "512M", ["-A", "--accel=jit"]),
    (GENERIC_61, 4, "1G", ["-A", "--accel=jit"]),
]
if QUICK:
    MATRIX = MATRIX[:2]


def complaints(dmesg):
    """Lines of `dmesg -r` at warning level or worse, and words no healthy boot prints."""
    bad = []
    for line in dmesg.splitlines():
        found = re.match(r"<(\d+)>", line)
        # How long the host kept a CPU waiting when it has fewer of them: no fault of the machine's.
        if not found or "hrtimer: interrupt took" in line:
            continue
        words = r"\bBUG\b|unchecked MSR|hung task|Call Trace|soft lockup|rcu.*stall|unstable|Oops"
        if int(found.group(1)) & 7 <= 4 or re.search(words, line):
            bad.append(line)
    return bad


@pytest.mark.parametrize("package,cpus,memory,options", MATRIX)
def test_boot(boot, package, cpus, memory, options):
    machine = boot("-c", str(cpus), "-m", memory, *options, package=package).shell()
    acpi = "-A" in options
    tables = acpi or (package not in NO_MPTABLE and "-Y" not in options)
    assert machine.run("nproc").strip() == str(cpus if tables else 1)
    bad = complaints(machine.run("dmesg -r"))
    assert [line for line in bad if acpi or not re.search(WITHOUT_ACPI, line)] == []
    interrupts = machine.run("cat /proc/interrupts")
    assert re.search(r"IO-APIC .*ttyS0" if tables else r"XT-PIC .*ttyS0", interrupts), interrupts
    assert re.search(r"LOC:\s+\d+", interrupts)
    kib = int(re.search(r"MemTotal:\s+(\d+)", machine.run("cat /proc/meminfo")).group(1))
    size = int(memory[:-1]) * (1024 if memory[-1] == "G" else 1)
    assert size * 1024 * 0.95 - 48 * 1024 < kib <= size * 1024  # the kernel itself keeps some
    if acpi:
        assert machine.leave("poweroff") == 1
    else:
        assert machine.leave("reboot") == 0


def test_clock(boot):
    """The date is the host's and uptime runs at its speed."""
    machine = boot("-A").shell()
    guest = int(machine.run("date -u +%s"))
    host = int(datetime.datetime.now().timestamp())
    assert abs(guest - host) <= 3
    before = float(machine.run("cat /proc/uptime").split()[0])
    start = datetime.datetime.now()
    machine.run("sleep 3")
    after = float(machine.run("cat /proc/uptime").split()[0])
    spent = (datetime.datetime.now() - start).total_seconds()
    assert 2.9 <= after - before <= spent + 1
    assert machine.run("cat /sys/devices/system/clocksource/clocksource0/current_clocksource").strip() == "tsc"
    assert machine.leave("poweroff") == 1


@pytest.mark.parametrize("accel", ["jit", "interp"])
def test_vdso_clock(boot, tmp_path, accel):
    """clock_gettime needs no system call: the TSC stays the clock source, on two CPUs, under load."""
    program = tmp_path / "vdso"
    subprocess.run(["cc", "-O1", "-o", program, pathlib.Path(__file__).with_name("vdso.c")], check=True)
    machine = boot("-A", "-c", "2", f"--accel={accel}", programs=(str(program),)).shell()
    assert machine.run("(vdso & vdso & vdso; wait)").split() == ["vdso"] * 3
    assert machine.run("cat /sys/devices/system/clocksource/clocksource0/current_clocksource").strip() == "tsc"
    assert complaints(machine.run("dmesg -r")) == []
    assert machine.leave("poweroff") == 1


def test_reboot_and_halt(boot):
    assert boot("-A").shell().leave("reboot") == 0
    assert boot("-A", "-c", "2").shell().leave("halt") == 2


def test_triple_fault(boot):
    """reboot=t makes the kernel end itself by a triple fault."""
    assert boot("-A", cmdline="console=ttyS0 reboot=t").shell().leave("reboot") == 3


def test_sixteen_cpus(boot):
    machine = boot("-A", "-c", "16", "-m", "1G").shell()
    assert machine.run("nproc").strip() == "16"
    assert machine.leave("poweroff") == 1


def test_panic_is_a_reset(boot):
    """panic=-1 resets at once."""
    machine = boot("-A", cmdline="console=ttyS0 panic=-1").shell()
    assert machine.leave("echo c > /proc/sysrq-trigger") == 0


def test_typing(boot):
    """Long lines, control characters and a burst of input arrive whole."""
    machine = boot("-A").shell()
    text = "x" * 900
    assert machine.run(f"echo {text} | wc -c").strip() == "901"
    machine.child.sendline("echo rea''dy; cat")
    machine.expect("ready\r\n")  # the shell has given the terminal back to line mode
    machine.child.sendline("to and fro")
    machine.expect("to and fro.*to and fro")  # the terminal's echo and cat's: cat is reading
    machine.child.send("\x03")
    machine.expect("guest:/# ")
    assert machine.leave("poweroff") == 1
