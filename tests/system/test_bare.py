"""A bare guest ends in every way there is, on every accelerator that the host lets us open."""
import os
import subprocess

import pytest

from machine import BOARD, TOP, XHYVE

ACCELS = ["interp", "jit"] + (["kvm"] if os.access("/dev/kvm", os.R_OK | os.W_OK) else [])
HALTED, OTHER = 2, 100
GREETING = b"hello from nowhere\r\n"


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """The linked guest."""
    elf = tmp_path_factory.mktemp("bare") / "bare.elf"
    subprocess.run(["gcc", "-nostdlib", "-static", "-no-pie",
                    "-Wl,-Ttext-segment=0x1000000,--build-id=none,-N,--no-warn-rwx-segments", "-o", str(elf),
                    str(TOP / "tests/system/bare.S")], check=True)
    return elf


def run(bare, accel, action, *options):
    return subprocess.run([XHYVE, f"--accel={accel}", "-m", "64M", *BOARD, *options, "-f", f"kexec,{bare},,{action}"],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          timeout=60, check=False)


@pytest.mark.parametrize("accel", ACCELS)
@pytest.mark.parametrize("action,status", [("poweroff", 1), ("reset", 0), ("keyboard", 0), ("92", 0), ("halt", HALTED),
                                           ("triple", 3), ("empty port", 0)])
def test_ends(bare, accel, action, status):
    done = run(bare, accel, action)
    assert (done.returncode, done.stdout, done.stderr) == (status, GREETING, b"")


@pytest.mark.parametrize("accel", ACCELS)
def test_strict_ports(bare, accel):
    done = run(bare, accel, "empty port", "-e")
    assert done.returncode == OTHER
    assert b"-e" in done.stderr and b"0x5555" in done.stderr
    assert run(bare, accel, "poweroff", "-e").returncode == 1


@pytest.mark.parametrize("accel", ACCELS)
def test_debugexit(bare, accel):
    """The low byte of 2 * value + 1, and nothing special at that port without the device."""
    done = run(bare, accel, "debugexit", "-l", "debugexit")
    assert (done.returncode, done.stdout, done.stderr) == (0x15 * 2 + 1, GREETING, b"")
    assert run(bare, accel, "debugexit", "-l", "debugexit,port=0x501").returncode == 0


@pytest.mark.parametrize("port", ["0x3f6", "0x2ff", "0x71", "0xcfc"])
def test_debugexit_port_taken(bare, port):
    done = run(bare, "interp", "debugexit", "-l", f"debugexit,port={port}")
    assert (done.returncode, done.stdout) == (64, b"")
    assert port.encode() in done.stderr


def test_halt_of_all_cpus(bare):
    """CPUs that were never started do not count."""
    assert run(bare, "jit", "halt", "-c", "4").returncode == HALTED


@pytest.mark.parametrize("accel", ACCELS)
def test_log_console(bare, accel, tmp_path):
    log = tmp_path / "console.log"
    done = subprocess.run([XHYVE, f"--accel={accel}", "-m", "64M", *BOARD[:-1], f"com1,log={log}",
                           "-f", f"kexec,{bare},,poweroff"], stdin=subprocess.DEVNULL, timeout=60, check=False)
    assert done.returncode == 1
    assert log.read_bytes() == GREETING
