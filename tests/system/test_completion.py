"""Shell completion offers what the programs' tables have: every option, device, console and command."""
import os
import pathlib
import re
import shutil
import subprocess

import pexpect
import pytest

from machine import TOP, XHYVE

SCRIPT = TOP / "completions" / "xhyve.bash"
PATH = f"{pathlib.Path(XHYVE).parent}:{os.environ['PATH']}"


def ask(line, cwd=None):
    """What bash offers at the end of the line."""
    name = line.split()[0]
    program = (f"source {SCRIPT}; compopt() {{ :; }}; COMP_LINE={line!r}; COMP_POINT=${{#COMP_LINE}}; "
               "COMP_WORDS=($(printf '%s' \"$COMP_LINE\" | sed 's/[=:]/ & /g')); [[ $COMP_LINE != *' ' ]] || COMP_WORDS+=(''); "
               f"COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _{name.replace('-', '_')}; printf '%s\\n' \"${{COMPREPLY[@]}}\"")
    done = subprocess.run(["bash", "-c", program], cwd=cwd, env={**os.environ, "PATH": PATH}, text=True, capture_output=True)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    return set(done.stdout.split())


def shown(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def options(text):
    """The options that a help text lists."""
    found = set()
    for line in re.findall(r"^  (-.*)", text, re.M):
        words = re.split(r"  +", line)[0]
        found |= {w + "=" if words.startswith("--") and "=" in words else w
                  for w in re.findall(r"(?:^|, )(--?[A-Za-z][a-z-]*)", words)}
    return found


def test_options():
    text = shown(XHYVE, "--help")
    want = options(text)
    assert {"-A", "--help", "-h", "--explain", "--accel="} <= want
    assert ask("xhyve -") == want
    assert ask("xhyve -A --acc") == {"--accel="}
    assert ask("xhyve --accel=") == {"auto", "kvm", "jit", "interp"}
    assert ask("xhyve -m ") == set()


def test_devices_and_consoles(tmp_path):
    devices = set(re.findall(r"^  ([a-z][a-z0-9_-]*)  ", shown(XHYVE, "-s", "help"), re.M))
    assert "virtio-blk" in devices
    assert ask("xhyve -s 4,") == {"4," + d for d in devices}
    assert ask("xhyve -s 31,l") == {"31,lpc"}
    consoles = set(re.findall(r"^  ([a-z]+)", shown(XHYVE, "-l", "help"), re.M))
    assert {"stdio", "autopty", "unix"} <= consoles
    assert ask("xhyve -l com1,") == {"com1," + c for c in consoles}
    assert ask("xhyve -l com") == {"com1", "com2"}
    (tmp_path / "disk.img").touch()
    (tmp_path / "vmlinuz").touch()
    assert ask("xhyve -s 4,virtio-blk,di", tmp_path) == {"4,virtio-blk,disk.img"}
    assert ask("xhyve -s 0:0,hostbridge -f kexec,vm", tmp_path) == {"kexec,vmlinuz"}
    assert ask("xhyve -f ") == {"kexec,", "multiboot,", "iso", "disk"}


def test_image_tool(tmp_path):
    text = shown(XHYVE + "-img", "--help")
    commands = set(re.findall(r"^  ([a-z]+) ", text.split("commands:")[1].split("\n\n")[0], re.M))
    assert {"create", "info", "bench"} <= commands
    assert ask("xhyve-img ") == commands | {"--help"}
    for command in commands:
        assert ask(f"xhyve-img {command} -") == options(shown(XHYVE + "-img", command, "--help"))
    (tmp_path / "disk.img").touch()
    assert ask("xhyve-img info d", tmp_path) == {"disk.img"}


def test_control_tool():
    commands = set(re.findall(r"^  ([a-z]+) ", shown(XHYVE + "-ctl", "--help"), re.M))
    assert {"pause", "insert"} <= commands
    assert ask("xhyve-ctl sock ") == commands
    assert ask("xhyve-ctl sock insert ") == {"cd"}
    assert ask("xhyve-ctl sock link net ") == {"up", "down"}


@pytest.mark.skipif(not shutil.which("zsh"), reason="no zsh")
def test_zsh():
    """The same in a shell at work: unique beginnings are completed."""
    env = {**os.environ, "PATH": PATH, "TERM": "dumb"}
    zsh = pexpect.spawn("zsh", ["-f", "-i"], env=env, encoding="utf-8", timeout=30, dimensions=(40, 500))
    try:
        zsh.sendline(f"PROMPT='re''ady> '; fpath=({SCRIPT.parent} $fpath); autoload -U compinit; compinit -u -D; echo lo''aded")
        zsh.expect("loaded")
        for typed, whole in (("xhyve --expl", "--explain"), ("xhyve -s 4,virtio-b", "virtio-blk"),
                             ("xhyve -l com1,auto", "autopty"), ("xhyve-img conv", "convert"), ("xhyve-ctl sock resu", "resume"),
                             ("xhyve-img create --sectors", "--sectorsize")):
            zsh.expect("ready> ")
            zsh.send(typed + "\t")
            zsh.expect(re.escape(whole))
            zsh.send("\x03")
    finally:
        zsh.close(force=True)
