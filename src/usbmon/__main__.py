"""``python -m usbmon`` is the command ``usbmon``."""

import sys

from usbmon.apps.cli import main

sys.exit(main())
