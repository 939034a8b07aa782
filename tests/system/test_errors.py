"""Mistakes of the user: one clear line, the right status, nothing touched, the terminal as it was."""
import os
import subprocess
import termios

import pytest

from machine import BOARD, XHYVE, Machine, initramfs, kernel

USAGE, FAILED = 64, 4


def run(*args, **kwargs):
    return subprocess.run([XHYVE, *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=60, check=False, **kwargs)


def refused(done, status, *words):
    """One line on stderr with these words, nothing on stdout."""
    assert done.returncode == status, done.stderr
    assert done.stdout == ""
    lines = [line for line in done.stderr.splitlines() if "using the software CPU" not in line]
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("xhyve: ")
    for word in words:
        assert word in lines[0], (word, lines[0])


@pytest.mark.parametrize("args,words", [
    (["-c", "0"], ["-c", "0", "16"]),
    (["-c", "17"], ["-c", "17", "16"]),
    (["-c", "2x"], ["-c", "2x"]),
    (["-m", "1KB"], ["-m", "1KB"]),
    (["-s", "3x,hostbridge"], ["3x"]),
    (["-s", "3,virito-net,vmnet0"], ["virito-net", "virtio-net"]),
    (["-s", "3,hostbrigde"], ["hostbrigde", "hostbridge"]),
    (["--acel=kvm"], ["--acel", "--accel"]),
    (["--accel=kvn"], ["--accel", "kvn"]),
    (["-l", "com9,stdio"], ["com9"]),
    ([], ["-f"]),
])
def test_command_line(tmp_path, args, words):
    before = os.listdir(tmp_path)
    firmware = ["-f", f"kexec,{tmp_path}/kernel"] if args else []
    refused(run(*args, *firmware, cwd=tmp_path), USAGE, *words)
    assert os.listdir(tmp_path) == before


def with_kernel(path, initrd=""):
    return [*BOARD[:-2], "-f", f"kexec,{path},{initrd}"]


def test_missing_kernel(tmp_path):
    refused(run(*with_kernel(tmp_path / "none")), FAILED, str(tmp_path / "none"), "No such file")


def test_directory_as_kernel(tmp_path):
    refused(run(*with_kernel(tmp_path)), FAILED, str(tmp_path), "director")


def test_kernel_that_is_none(tmp_path):
    path = tmp_path / "text"
    path.write_text("this is not a kernel\n" * 1000)
    refused(run(*with_kernel(path)), FAILED, str(path))


def test_truncated_kernel(tmp_path):
    path = tmp_path / "half"
    with open(kernel(), "rb") as whole:
        path.write_bytes(whole.read(1 << 20))
    refused(run(*with_kernel(path)), FAILED, str(path))


def test_fifo_as_kernel(tmp_path):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    refused(run(*with_kernel(path)), FAILED, str(path))


def test_empty_initrd(tmp_path):
    path = tmp_path / "initrd"
    path.write_bytes(b"")
    refused(run(*with_kernel(kernel(), path)), FAILED, str(path), "empty")


def test_memory_beyond_host():
    refused(run("-m", "400G", *with_kernel(kernel())), FAILED, "-m")


def test_too_little_memory():
    refused(run("-m", "16M", *with_kernel(kernel(), initramfs())), FAILED, "RAM", "16384")


def test_long_command_line():
    done = run(*BOARD[:-2], "-f", f"kexec,{kernel()},{initramfs()},{'x' * 5000}")
    refused(done, FAILED, "5000", "2047")


def test_nothing_is_created_when_the_kernel_is_bad(tmp_path):
    log = tmp_path / "console.log"
    done = run("-s", "0,hostbridge", "-s", "31,lpc", "-l", f"com1,log={log}", "-f", f"kexec,{tmp_path}/none")
    refused(done, FAILED, "none")
    assert not log.exists()


def test_pidfile_of_a_living_process(tmp_path):
    path = tmp_path / "pid"
    path.write_text(f"{os.getpid()}\n")
    refused(run("-F", str(path), *with_kernel(kernel())), FAILED, "-F", str(path))
    assert path.read_text() == f"{os.getpid()}\n"


def test_terminal_is_restored():
    """Raw mode while the guest runs, the old mode after a normal end, a signal and an abort."""
    for how in ("escape", "SIGTERM", "SIGSEGV"):
        master, slave = os.openpty()
        before = termios.tcgetattr(slave)
        process = subprocess.Popen([XHYVE, *BOARD, "-f", f"kexec,{kernel()},{initramfs()},console=ttyS0"],
                                   stdin=slave, stdout=slave, stderr=subprocess.DEVNULL, start_new_session=True)
        seen = b""
        while b"Linux version" not in seen:
            seen += os.read(master, 4096)
        assert termios.tcgetattr(slave)[3] & (termios.ICANON | termios.ECHO) == 0
        if how == "escape":
            os.write(master, b"\x1dq")
        else:
            process.send_signal(getattr(__import__("signal"), how))
        while process.poll() is None:
            os.set_blocking(master, False)
            try:
                os.read(master, 65536)
            except BlockingIOError:
                pass
        assert termios.tcgetattr(slave) == before, how
        os.close(master)
        os.close(slave)


def test_output_in_a_pipe_is_whole(tmp_path):
    """A file as output and no terminal at all; nothing of the end is missing."""
    out = tmp_path / "out"
    with open(out, "wb") as sink:
        done = subprocess.run([XHYVE, "-A", *BOARD, "-f",
                               f"kexec,{kernel()},{initramfs()},console=ttyS0 xhyve.run=seq_1_20000"],
                              stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.PIPE, timeout=400, check=False)
    assert done.returncode == 1, done.stderr
    lines = [line.strip() for line in out.read_text(errors="replace").splitlines()]
    start = lines.index("1")
    assert lines[start:start + 20000] == [str(n) for n in range(1, 20001)]
    assert any("Power down" in line for line in lines)


def test_power_button():
    """SIGTERM presses the power button; the second one ends a guest that does not listen."""
    machine = Machine.linux("-A").shell()
    machine.child.kill(15)
    machine.expect("power button pressed")
    machine.child.kill(15)
    assert machine.wait() == 100
