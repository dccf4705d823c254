"""Statuses of URBs, and what submitting and unlinking answer: Linux errno, negative.

Here: the numbers, whatever system this runs on. What they mean for an URB, in words, is
`usbmon.usb.errno`.
"""

from __future__ import annotations

from typing import Final

ENOENT: Final = -2
EIO: Final = -5
ENOEXEC: Final = -8
ENOMEM: Final = -12
EBUSY: Final = -16
EXDEV: Final = -18
ENODEV: Final = -19
EINVAL: Final = -22
ENOSPC: Final = -28
EROFS: Final = -30
EPIPE: Final = -32
EIDRM: Final = -43
EBADR: Final = -53
ETIME: Final = -62
EPROTO: Final = -71
EOVERFLOW: Final = -75
EILSEQ: Final = -84
EMSGSIZE: Final = -90
ECONNRESET: Final = -104
ENOTCONN: Final = -107
ESHUTDOWN: Final = -108
ETIMEDOUT: Final = -110
EHOSTUNREACH: Final = -113
EINPROGRESS: Final = -115
EREMOTEIO: Final = -121
ENOMEDIUM: Final = -123

# Unlinked, or the device has gone: a driver does not submit the URB again.
GONE: Final = (ENOENT, ECONNRESET, ESHUTDOWN)
