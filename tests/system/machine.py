"""A running xhyve for the whole-machine tests: starts it on a pseudo terminal and talks to it.

Nothing here measures time; the limits are only there to end a hung test.
"""
import os
import pathlib
import re
import subprocess

import pexpect

TOP = pathlib.Path(__file__).resolve().parents[2]
XHYVE = os.environ.get("XHYVE", str(TOP / "build" / "xhyve"))
PROMPT = "guest:/# "
BOOT_LIMIT = 180
BOARD = ["-s", "0:0,hostbridge", "-s", "31,lpc", "-l", "com1,stdio"]
_cache = {}


def _tool(*command):
    if command not in _cache:
        done = subprocess.run([str(TOP / "tools" / command[0]), *command[1:]], check=True,
                              stdout=subprocess.PIPE, text=True)
        _cache[command] = done.stdout.strip()
    return _cache[command]


def kernel(package="linux-image-cloud-amd64"):
    """Path of a stock kernel, fetched once."""
    return _tool("kernel.sh", package)


def initramfs(package="linux-image-cloud-amd64", programs=()):
    """Path of a busybox initramfs with the kernel's disk drivers and programs of the host."""
    name = "-".join(["initramfs", package, *[pathlib.Path(p).name for p in programs]])
    out = pathlib.Path(kernel(package)).parents[2] / f"{name}.cpio.gz"
    return _tool("initramfs.sh", str(out), kernel(package), *programs)


class Machine:
    """One xhyve process with its terminal. program: the command that starts it, when it is not just xhyve."""

    def __init__(self, args, board=True, program=(XHYVE,), **kwargs):
        self.args = [*program[1:], *(BOARD if board else []), *args]
        self.child = pexpect.spawn(program[0], self.args, encoding="utf-8", codec_errors="replace",
                                   timeout=BOOT_LIMIT, dimensions=(50, 200), **kwargs)
        self.child.delaybeforesend = None

    @classmethod
    def linux(cls, *args, package="linux-image-cloud-amd64", cmdline="console=ttyS0", programs=(), **kwargs):
        """A stock kernel with the busybox initramfs."""
        return cls([*args, "-f", f"kexec,{kernel(package)},{initramfs(package, programs)},{cmdline}"], **kwargs)

    def expect(self, what, timeout=BOOT_LIMIT):
        """Waits for a regular expression; a dead or silent machine fails with its last output."""
        try:
            return self.child.expect(what, timeout=timeout)
        except (pexpect.TIMEOUT, pexpect.EOF) as reason:
            raise AssertionError(f"{type(reason).__name__} waiting for {what!r} from {' '.join(self.args)}\n"
                                 f"{(self.child.before or '')[-4000:]}") from None

    def shell(self):
        """Waits for the prompt of the busybox shell."""
        self.expect(re.escape(PROMPT))
        return self

    def run(self, command, timeout=BOOT_LIMIT):
        """Runs a command in the guest's shell and returns its output."""
        # The shell echoes and folds what is typed: marks that are only whole in the output.
        self.child.sendline(f"echo BE''GIN; {command}; echo E''ND-$?-OF")
        self.expect("BEGIN\r\n")
        self.expect(r"END-(\d+)-OF\r\n", timeout)
        status = self.child.match.group(1)
        output = self.child.before.replace("\r", "")
        self.expect(re.escape(PROMPT))
        assert status == "0", f"{command}: status {status}\n{output}"
        return output

    def leave(self, command):
        """Sends a last command (poweroff, reboot) and returns xhyve's exit status."""
        self.child.sendline(command)
        return self.wait()

    def wait(self, timeout=60):
        """Waits for the end of the process; returns its exit status, or minus the signal."""
        self.child.expect(pexpect.EOF, timeout=timeout)
        self.child.close()
        return self.child.exitstatus if self.child.signalstatus is None else -self.child.signalstatus

    def kill(self):
        """For finally clauses."""
        self.child.close(force=True)
