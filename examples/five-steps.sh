#!/bin/sh
# The five steps of the kernel's document on usbmon, on a virtual bus: needs FUSE, but no root and
# no device. The trace is left in 1.mon.out.
set -eu
usb=$(mktemp -d)
usbmon mount "$usb" --with keyboard 2>/dev/null &
mount=$!
trap 'kill $mount; wait $mount || true; rmdir "$usb"' EXIT
until grep -qs Keyboard "$usb/devices"; do sleep 0.1; done

echo "1. Prepare: verify that bus sockets are present"
ls "$usb/usbmon"

echo "2. Find which bus connects to the desired device: Bus=01, Dev#=2"
grep -B 4 Product=Keyboard "$usb/devices"

echo "3. Start cat"
cat "$usb/usbmon/1u" >1.mon.out &
cat=$!

echo "4. Perform the desired operation on the USB bus"
echo "type keyboard text=hello" >"$usb/do"
sleep 1

echo "5. Kill cat"
kill $cat
