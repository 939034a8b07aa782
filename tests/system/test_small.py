"""Small things in a stock kernel: random numbers, the translator under comparison."""
import subprocess

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


def test_no_model_with_more_features(boot, tmp_path):
    """Functions that a compiler picks by the CPU's model run: none of a model with AVX-512, which there is not."""
    source = tmp_path / "clones.c"
    source.write_text("""#include <stdio.h>
__attribute__((target_clones("arch=sapphirerapids", "arch=skylake-avx512", "arch=alderlake", "default"), optimize("O3")))
void add(float *restrict a, const float *restrict b, int n) { for (int i = 0; i < n; i++) a[i] = a[i] * 2 + b[i]; }
int main(int c, char **v) { static float a[4096], b[4096]; for (int i = 0; i < 4096; i++) b[i] = i;
add(a, b, 4096); printf("%.0f\\n", a[4095]); return 0; }
""")
    program = tmp_path / "clones"
    subprocess.run(["gcc", "-O2", "-o", program, source], check=True)
    machine = boot("-A", "--accel=jit", cmdline="console=ttyS0 quiet", programs=(str(program),)).shell()
    assert machine.run("clones").strip() == "4095"
    assert machine.leave("poweroff") == 1
