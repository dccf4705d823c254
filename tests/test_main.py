import subprocess
import sys


def test_python_m_usbmon_is_the_command():
    said = subprocess.run(
        [sys.executable, "-m", "usbmon", "--version"], capture_output=True, text=True, check=True
    )
    assert said.stdout.startswith("usbmon ")
