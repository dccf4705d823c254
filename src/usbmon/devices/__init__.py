"""Devices as they are known: what sysfs, a listing, ``lsusb -v`` or a virtual bus tells of them."""
