"""Small things in a stock kernel: random numbers, the translator under comparison."""
from machine import Machine


def test_random_numbers():
    """The kernel takes its random numbers from the device, legacy drivers too."""
    m = Machine.linux("-A", "-s", "5,virtio-rnd", cmdline="console=ttyS0 quiet")
    try:
        m.shell()
        assert m.run("cat /sys/class/misc/hw_random/rng_current").strip() == "virtio_rng.0"
        read = "dd if=/dev/hwrng bs=512 count=20 2>/dev/null"
        assert m.run(f"{read} | wc -c").strip() == "10240"
        assert m.run(f"{read} | md5sum") != m.run(f"{read} | md5sum")
        m.run("rmmod virtio_rng && rmmod virtio_pci && insmod /lib/modules/virtio_pci.ko force_legacy=1 && "
              "insmod /lib/modules/virtio-rng.ko")
        assert m.run(f"{read} | wc -c").strip() == "10240"
        assert m.leave("poweroff") == 1
    finally:
        m.kill()


def test_jit_check(boot):
    """A kernel boots, and two CPUs work, with every block compared with the reference engine."""
    m = boot("-A", "-c", "2", "--accel=jit", "--jit-check", cmdline="console=ttyS0 quiet").shell()
    assert m.run("nproc").strip() == "2"
    assert m.run("(sha256sum /bin/busybox & sha256sum /bin/busybox; wait) | sort -u | wc -l").strip() == "1"
    assert m.leave("poweroff") == 1
