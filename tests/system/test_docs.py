"""Documents and programs say the same: man pages, docs/compat.md and the guide against what the programs list."""
import re
import subprocess

import pytest

from machine import TOP, XHYVE, kernel
from test_completion import options, shown

IMG, CTL = XHYVE + "-img", XHYVE + "-ctl"
OF_THE_ORIGINAL = (  # what it and its relatives have on their command lines and xhyve has not
    "fbsd", "bootrom", "multiboot", "e1000", "fbuf", "virtio-9p", "virtio-sock", "virtio-vpnkit", "asl", "format=qcow")


def read(name):
    return (TOP / name).read_text()


def listed(text, pattern):
    found = re.findall(pattern, text, re.M)
    assert found
    return found


def section(page, heading):
    """A .Ss or .Sh section of a man page, up to the next heading of its kind."""
    found = re.search(rf"^\.S[sh] {heading}$(.*?)(?=^\.S[sh] )", page, re.M | re.S)
    assert found, heading
    return found.group(1)


def items(text):
    """The words of .It lines, without macros' names."""
    return [re.sub(r"\\[&(]\w*", "", line) for line in re.findall(r"^\.It (.*)", text, re.M)]


def has_item(text, macro, word):
    return any(re.search(rf"\b{macro} (?:[^ ]+ , )*{re.escape(word)}(?: |$)", line) for line in items(text))


def test_devices_and_consoles_in_the_man_page():
    page = read("man/xhyve.1")
    devices = listed(shown(XHYVE, "-s", "help"), r"^  ([a-z][a-z0-9_-]*)  ")
    slots = section(page, "Slots and devices")
    assert [d for d in devices if not has_item(slots, "Cm", d)] == []
    consoles = section(page, "Consoles")
    backends = listed(shown(XHYVE, "-l", "help"), r"^  ([a-z]+)")
    assert [b for b in backends if not has_item(consoles, "Cm", b)] == []
    described = [line.split()[1] for line in items(slots) if line.startswith("Cm ")]
    assert [d for d in described if d not in devices] == []


def test_statuses_in_the_man_page():
    page = section(read("man/xhyve.1"), "EXIT STATUS")
    told = shown(XHYVE, "--help").split("exit status:")[1]
    numbers = re.findall(r"(?:^|, |\s)(\d+) [a-z]", told)
    assert len(numbers) >= 7
    assert [n for n in numbers if not re.search(rf"^\.It {n}$", page, re.M)] == []


@pytest.mark.parametrize("program,name,row", [(IMG, "xhyve-img", r"^  ([a-z]+) "), (CTL, "xhyve-ctl", r"^  ([a-z]+) ")])
def test_commands_in_the_man_page(program, name, row):
    page = read(f"man/{name}.1")
    commands = listed(shown(program, "--help"), row)
    assert [c for c in commands if not has_item(page, "Cm", c)] == []


def test_options_of_the_image_tool_in_the_man_page():
    page = read("man/xhyve-img.1").replace(r"\-", "-")
    for command in listed(shown(IMG, "--help"), r"^  ([a-z]+) "):
        for option in options(shown(IMG, command, "--help")) - {"-h", "--help"}:
            assert re.search(rf"\bFl {re.escape(option[1:].rstrip('='))}\b", page), (command, option)


def test_the_comparison_is_complete():
    text = read("docs/compat.md")
    letters = [o for o in options(shown(XHYVE, "--help")) if len(o) == 2]
    names = [o.rstrip("=") for o in options(shown(XHYVE, "--help")) if len(o) > 2 and o != "--help"]
    # an option has its place in the table: `-A`, `-c N`, `-P`, `-u`
    assert [o for o in letters if not re.search(rf"`{o}[ `\[]", text)] == []
    assert [o for o in names if f"`{o}" not in text] == []
    for word in [*listed(shown(XHYVE, "-s", "help"), r"^  ([a-z][a-z0-9_-]*)  "),
                 *listed(shown(XHYVE, "-l", "help"), r"^  ([a-z]+)"), *OF_THE_ORIGINAL]:
        assert re.search(rf"`[^`]*\b{re.escape(word)}\b[^`]*`", text), word


def test_links_lead_somewhere():
    for name in ("README.md", "CONTRIBUTING.md", *(str(p.relative_to(TOP)) for p in (TOP / "docs").glob("*.md"))):
        text = read(name)
        for path in re.findall(r"`((?:docs|examples|tools|tests|src|bench|completions|man)/[\w./-]+)`", text):
            assert (TOP / path).exists() or (TOP / (path + ".c")).exists(), (name, path)
        for path in re.findall(r"\]\(([^)#:]+)\)", text):
            assert ((TOP / name).parent / path).exists(), (name, path)


def test_messages_of_the_guide_are_real(tmp_path):
    """The table of what to do when something does not work has the program's own words."""
    cells = re.findall(r"^\| `([^`]+)` \|", read("docs/guide.md"), re.M)
    told = [".*".join(re.escape(part) for part in cell.split("...")) for cell in cells]
    board = ["-s", "0,hostbridge", "-s", "31,lpc", "-l", "com1,stdio"]
    image = tmp_path / "a.img"
    image.write_bytes(bytes(1 << 20))
    for args in (["-f", "kexec,k,i", "console=ttyS0"], ["-s", "3,virito-net", "-f", "kexec,k"],
                 ["-s", f"2,virtio-blk,{image}.none", "-f", f"kexec,{kernel()}"],
                 ["-s", f"2,virtio-blk,{image},size=2M", "-f", f"kexec,{kernel()}"]):
        done = subprocess.run([XHYVE, *board, *args], capture_output=True, text=True, stdin=subprocess.DEVNULL)
        assert done.returncode in (4, 64)
        assert any(re.search(t, done.stderr) for t in told), done.stderr


def test_the_article_installs_by_hand(tmp_path):
    """Its commands: cp build/xhyve and xhyve.1, then man xhyve."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "man1").mkdir()
    subprocess.run(["cp", XHYVE, tmp_path / "bin" / ""], check=True)
    subprocess.run(["cp", "xhyve.1", tmp_path / "man1" / ""], cwd=TOP, check=True)
    assert not (tmp_path / "bin" / "xhyve").is_symlink() and not (tmp_path / "man1" / "xhyve.1").is_symlink()
    assert "usage: xhyve" in shown(str(tmp_path / "bin" / "xhyve"), "--help")
    assert (tmp_path / "man1" / "xhyve.1").read_text() == read("man/xhyve.1")
