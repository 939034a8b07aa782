"""The command line of xhyve-img: statuses, messages, JSON, and images made by qemu-img."""
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import time

import pytest

from machine import XHYVE

XHYVE_IMG = os.environ.get("XHYVE_IMG", str(pathlib.Path(XHYVE).parent / "xhyve-img"))
USAGE = 64
SIZE = 4 << 20
qemu_img = pytest.mark.skipif(not shutil.which("qemu-img"), reason="needs qemu-img")


def img(*args, status=0, cwd=None):
    done = subprocess.run([XHYVE_IMG, *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=60, check=False, cwd=cwd)
    assert done.returncode == status, (args, done.stdout, done.stderr)
    return done


@pytest.fixture
def source(tmp_path):
    """A disk with runs of data and of nothing."""
    rng = random.Random(1)
    data = bytearray(SIZE)
    for _ in range(20):
        at, length = rng.randrange(SIZE), rng.randrange(1, 100000)
        length = min(length, SIZE - at)
        data[at:at + length] = rng.randbytes(length)
    path = tmp_path / "source"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("args,words", [
    ([], ["usage: xhyve-img"]),
    (["chekc", "x"], ["chekc", "check"]),
    (["check", "--jsn", "x"], ["--jsn", "--json"]),
    (["info"], ["usage: xhyve-img info"]),
    (["create", "x", "1Q"], ["size=1Q"]),
    (["create", "x,spilt=1M", "2M"], ["spilt", "split"]),
])
def test_bad_command_line(tmp_path, args, words):
    done = img(*args, status=USAGE, cwd=tmp_path)
    assert done.stdout == ""
    for word in words:
        assert word in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["create", "info", "check", "repair", "convert", "shrink", "resize", "map", "ls", "cat", "cp", "bench"])
def test_help(name):
    assert f"usage: xhyve-img {name} " in img(name, "--help").stdout
    assert f"  {name} " in img("--help").stdout


def test_full_output_is_an_error(tmp_path):
    with open("/dev/full", "w") as full:
        done = subprocess.run([XHYVE_IMG, "--help"], stdout=full, stderr=subprocess.PIPE, check=False, timeout=10)
    assert done.returncode == 1
    assert b"standard output" in done.stderr


def test_closed_standard_descriptors(tmp_path, source):
    """What is printed must not end up in the image."""
    before = source.read_bytes()
    subprocess.run(["sh", "-c", f'exec "{XHYVE_IMG}" shrink source <&- >&- 2>&-'], cwd=tmp_path, check=True, timeout=60)
    assert source.read_bytes() == before


def test_missing_image(tmp_path):
    done = img("info", "nothing", status=1, cwd=tmp_path)
    assert done.stderr == "xhyve-img: nothing: no such image\n"


def test_both_spellings_of_create(tmp_path):
    img("create", "a,size=4M,split=1M,sectorsize=4096,sparse", cwd=tmp_path)
    img("create", "b", "4M", "--split", "1M", "--sectorsize=4096", "--sparse", cwd=tmp_path)
    a, b = (json.loads(img("info", "--json", name, cwd=tmp_path).stdout) for name in "ab")
    del a["image"], b["image"]
    assert a == b
    assert (a["format"], a["virtual-size"], a["segments"], a["allocated-sectors"]) == ("sparse", SIZE, 4, 0)


def test_map_covers_the_disk(tmp_path, source):
    img("convert", "source", "s,split=1M,sectorsize=4096,sparse", cwd=tmp_path)
    at = 0
    data = source.read_bytes()
    for extent in json.loads(img("map", "--json", "s", cwd=tmp_path).stdout):
        assert extent["start"] == at
        piece = data[at:at + extent["length"]]
        if extent["data"]:
            stored = (tmp_path / extent["file"]).read_bytes()[extent["offset"]:][:extent["length"]]
            assert stored == piece
        else:
            assert not any(piece)
        at += extent["length"]
    assert at == SIZE


def test_check_statuses(tmp_path, source):
    img("convert", "source", "s,split=1M,sectorsize=4096,sparse", cwd=tmp_path)
    report = json.loads(img("check", "--json", "s", cwd=tmp_path).stdout)
    assert report["damage"] == 0 and report["findings"] == []
    with open(tmp_path / "s.0001", "ab") as f:
        f.write(b"lost" * 1024)
    report = json.loads(img("check", "--json", "s", status=3, cwd=tmp_path).stdout)
    assert report["leaked-bytes"] == 4096
    with open(tmp_path / "s.lut", "r+b") as f:
        f.write((9999).to_bytes(4, "little"))
    report = json.loads(img("check", "--json", "s", status=2, cwd=tmp_path).stdout)
    assert [f["sector"] for f in report["findings"] if f["kind"] == "past-end"] == [0]
    img("repair", "s", cwd=tmp_path)
    img("check", "s", cwd=tmp_path)


def test_no_progress_without_terminal(tmp_path, source):
    assert img("convert", "source", "copy", cwd=tmp_path).stderr == ""


@pytest.mark.parametrize("command", ["shrink", "convert"])
def test_interrupt(tmp_path, command):
    """However early or late the signal comes, there is a valid image or none."""
    size = 256 << 20
    with open(tmp_path / "source", "wb") as f:
        f.write(random.Random(2).randbytes(1 << 20) * 64)
        f.truncate(size)
    if command == "shrink":
        img("convert", "source", "s,split=64M,sectorsize=4096,sparse", cwd=tmp_path)
        words = ["shrink", "s"]
    else:
        words = ["convert", "source", "s,split=64M,sectorsize=4096,sparse"]
    process = subprocess.Popen([XHYVE_IMG, *words], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode in (0, 130, -signal.SIGINT), err
    assert not list(tmp_path.glob("*.partial*"))
    if (tmp_path / "s.lut").exists():
        img("check", "s", cwd=tmp_path)
        img("convert", "s", "back", cwd=tmp_path)
        assert (tmp_path / "back").read_bytes() == (tmp_path / "source").read_bytes()


@qemu_img
@pytest.mark.parametrize("options", [
    [], ["-c"], ["-c", "-o", "compression_type=zstd"], ["-o", "compat=0.10"], ["-o", "cluster_size=512"],
    ["-c", "-o", "cluster_size=2M"], ["-S", "0"], ["-o", "preallocation=metadata"],
], ids=" ".join)
def test_qcow2_of_qemu(tmp_path, source, options):
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", *options, "source", "q"], cwd=tmp_path, check=True)
    img("convert", "q", "s,split=1M,sectorsize=4096,sparse", cwd=tmp_path)
    img("check", "s", cwd=tmp_path)
    img("convert", "s", "back", cwd=tmp_path)
    assert (tmp_path / "back").read_bytes() == source.read_bytes()


@qemu_img
@pytest.mark.parametrize("options,words", [
    (["-b", "source", "-F", "raw"], ["backing file", "source"]),
    (["-o", "extended_l2=on"], ["extended L2"]),
    (["-o", "data_file=data"], ["external data file"]),
], ids=["backing", "extended", "data-file"])
def test_refused_qcow2(tmp_path, source, options, words):
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *options, "q", str(SIZE)], cwd=tmp_path, check=True)
    done = img("convert", "q", "out", status=1, cwd=tmp_path)
    for word in words:
        assert word in done.stderr
    assert not (tmp_path / "out").exists()
