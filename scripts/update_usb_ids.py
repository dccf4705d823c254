#!/usr/bin/env python3
"""Make src/usbmon/usb/usb.ids.gz of a newer usb.ids.

The file is that of http://www.linux-usb.org/usb.ids, or of a system's package usb.ids or hwdata.
One that is older than what is there is refused. The bytes of the result follow from the list alone.
"""

from __future__ import annotations

import argparse
import gzip
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

from usbmon.usb import ids


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path, help="a usb.ids")
    parser.add_argument("--to", type=Path, default=ids.SHIPPED, help=argparse.SUPPRESS)
    options = parser.parse_args()
    text = options.file.read_bytes()
    there = ids.date(gzip.decompress(options.to.read_bytes())) if options.to.exists() else (0, 0, 0)
    new = ids.date(text)
    if not any(new):
        parser.error(f"{options.file} has no line with its date: is it a usb.ids?")
    if new < there:
        parser.error(f"{options.file} is older than what is there: {new} and {there}")
    options.to.write_bytes(gzip.compress(text, 9, mtime=0))
    print("usb.ids of {}-{:02}-{:02}".format(*new))
    return 0


if __name__ == "__main__":
    sys.exit(main())
