"""Not Linux, but its boot protocol: memtest86+ reaches its screen on the serial line and tests memory."""
from machine import Machine, kernel


def test_memtest():
    machine = Machine(["-A", "-m", "64M", "-f", f"kexec,{kernel('memtest86+')},,console=ttyS0,115200"])
    try:
        machine.expect(r"Memtest86\+ v")
        machine.expect(r"Status: Testing")
        machine.expect(r"#\d+ +\[[A-Z][a-z ,0-9]+")
        machine.expect(r"Errors: 0 ")
        machine.child.send("\x1dq")
        machine.wait()
    finally:
        machine.kill()
