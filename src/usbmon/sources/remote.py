"""The script that captures on another machine, and what it says.

Here: a script for any POSIX shell (dash, busybox, bash), which needs `cat` beside it, and `Reply`,
which takes its output apart. Not here: how it gets there and back (`usbmon.sources.ssh`).

The dialogue. The script comes by standard input, which then stays open. It says what the machine is
and has; it is answered with the number of a bus; it captures until its input ends; then it stops
the reader and says what became of it. So whatever ends the connection ends the reader too. All that
it says stands in parts: a mark that is not in any trace, the name of the part, a line break, and
what it is. What programs of the login may have printed before the first mark is passed over.

The ways, the best first. tcpdump gives pcap with isochronous descriptors, and counts drops. cat of
the device gives records of its read(), of which none is larger than a read of cat takes at once, or
is continued by the next one. cat of the text gives 32 bytes of each event.
"""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Final

from usbmon.errors import FormatError
from usbmon.formats.stat import parse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from usbmon.formats.stat import Statistics

# How the stream of each way is read.
FORMATS: Final = {"tcpdump": "pcap", "read": "bin48", "text": "u"}

# fd 3: what we are told; 5: what we say; 6: the file that cat reads. A background process of a
# shell has /dev/null as its input, and ignores SIGINT: SIGTERM ends tcpdump in the same way. The
# others may have inherited that SIGTERM is ignored.
_SCRIPT: Final = r"""
{
export LC_ALL=C
exec 3<&0
R=${USBMON_ROOT-}
[ -n "$R" ] || PATH=$PATH:/usr/sbin:/sbin
S=$R/sys/bus/usb/devices
part() { printf '%s%s\n' "$T" "$1"; }
line() { x=; { IFS= read -r x <"$1"; } 2>/dev/null; [ -n "$x" ]; }
few() { if line "$1"; then part "file ${1#"$S"/}"; printf '%s\n' "$x"; fi; }
whole() { if [ -r "$1" ]; then part "file ${1#"$S"/}"; cat "$1" 2>/dev/null; fi; }
can() { ( : <"$1" ) 2>/dev/null; }
part uname; uname -snrm
part clock; date +%s; cat "$R/proc/uptime" 2>/dev/null
for d in "$S"/*; do
  case ${d##*/} in
  *:*)
    for f in bInterfaceNumber bAlternateSetting interface; do few "$d/$f"; done
    for f in "$d"/0003:*; do whole "$f/report_descriptor"; done ;;
  *)
    for f in busnum devnum speed maxchild bConfigurationValue configuration manufacturer product \
      serial; do few "$d/$f"; done
    whole "$d/descriptors"
    whole "$d/bos_descriptors" ;;
  esac
done
part ready
IFS= read -r N <&3 || exit 0
D=$R/sys/kernel/debug/usb/usbmon
[ -d "$D" ] || D=$R/sys/kernel/debug/usbmon
way=
if tcpdump -L -i "usbmon$N" >/dev/null 2>&1 </dev/null; then way=tcpdump
elif can "$R/dev/usbmon$N"; then way=read file=$R/dev/usbmon$N
elif can "$D/${N}u"; then way=text file=$D/${N}u
elif can "$D/${N}t"; then way=text file=$D/${N}t
fi
if [ -z "$way" ]; then
  why=module
  if [ "$(uname -s)" != Linux ]; then why=system
  elif [ -e "$R/dev/usbmon$N" ] || [ -e "$D/${N}s" ]; then why=denied
  elif [ -e "$R/dev/usbmon0" ] || [ -e "$D/0s" ]; then why=bus
  elif [ -e "$R/sys/module/usbmon" ]; then why=hidden
  fi
  part fail; printf '%s\n' "$why"; part end
  exit 0
fi
[ "$way" = tcpdump ] || exec 6<"$file"
part way; printf '%s\n' "$way"
if line "$D/${N}s"; then part before; printf '%s\n' "$x"; fi
part stream
exec 5>&1
said=$(
  case $way in
  tcpdump) exec tcpdump -i "usbmon$N" -n -s 0 -U -w - ;;
  *) exec cat <&6 ;;
  esac 2>&1 >&5 3<&- 5>&- &
  reader=$!
  {
    while IFS= read -r x; do :; done
    line "$D/${N}s" && printf 'after %s\n' "$x"
    if [ "$way" = tcpdump ]; then kill "$reader"; else kill -KILL "$reader"; fi
  } <&3 2>/dev/null 5>&- &
  watcher=$!
  wait "$reader" 2>/dev/null
  printf 'code %s\n' "$?"
  kill -KILL "$watcher" 2>/dev/null
  wait "$watcher" 2>/dev/null
  line "$D/${N}s" && printf 'after %s\n' "$x"
)
part said; printf '%s\n' "$said"
part end
exit 0
}
"""


def script(mark: str) -> bytes:
    """What is to be given to ``sh -s``."""
    return f"T={shlex.quote(mark)}{_SCRIPT}".encode()


class Reply:
    """`feed` it what the script says, and it gives the bytes of the stream. `parts` has the rest by
    name (of files: a name each), `ended` tells whether it said all. The machine may say anything:
    of a part, no more than `LIMIT` is kept.
    """

    LIMIT: Final = 1 << 20
    _PARTS: Final = 1 << 14

    def __init__(self, mark: str) -> None:
        self.parts: dict[str, bytes] = {}
        self.ended = False
        self._mark = mark.encode()
        self._name: str | None = None  # of the part that goes on; None: none has begun
        self._rest = b""
        self._in_name = False

    def feed(self, data: bytes) -> bytes:
        """The bytes of the stream among these."""
        stream = b"".join(self._split(self._rest + data))
        self.ended = self._name == "end"
        return stream

    def _split(self, data: bytes) -> Iterator[bytes]:
        at = 0
        while True:
            if self._in_name:
                end = data.find(b"\n", at)
                if end < 0:
                    break
                self._name = data[at:end].decode(errors="replace")
                if len(self.parts) < self._PARTS:
                    self.parts.setdefault(self._name, b"")
                self._in_name = False
                at = end + 1
            end = data.find(self._mark, at)
            if end < 0:
                break
            yield self._content(data[at:end])
            self._in_name = True
            at = end + len(self._mark)
        keep = at
        if not self._in_name:  # what may be the start of a mark waits
            keep = max(at, len(data) - len(self._mark) + 1)
            while keep < len(data) and not self._mark.startswith(data[keep:]):
                keep += 1
            yield self._content(data[at:keep])
        self._rest = data[keep : keep + self.LIMIT]

    def _content(self, data: bytes) -> bytes:
        if self._name == "stream":
            return data
        if self._name in self.parts:
            self.parts[self._name] += data[: self.LIMIT - len(self.parts[self._name])]
        return b""

    def rest(self) -> bytes:
        """The bytes of the stream that were kept back, when nothing follows."""
        if self._name != "stream" or self._in_name:
            return b""
        kept, self._rest = self._rest, b""
        return kept

    def text(self, name: str) -> str:
        return self.parts.get(name, b"").decode(errors="replace").strip()

    @property
    def files(self) -> dict[str, bytes]:
        """Those of sysfs, by their paths below the folder of devices."""
        named = ((name[5:], data) for name, data in self.parts.items() if name.startswith("file "))
        return {name: data for name, data in named if _FILE.fullmatch(name)}

    @property
    def clocks(self) -> tuple[int, int]:
        """The wall clock and the time since the start, in ns; 0 where they were not told."""
        found = [int(word) for word in re.findall(r"^\d{1,10}", self.text("clock"), re.MULTILINE)]
        wall, up = (*found, 0, 0)[:2]
        return wall * 1_000_000_000, up * 1_000_000_000

    @property
    def code(self) -> int | None:
        """The exit code of the reader."""
        found = re.search(r"^code (\d{1,3})$", self.text("said"), re.MULTILINE)
        return int(found[1]) if found else None

    @property
    def words(self) -> str:
        """What the reader said, in one line, but for what it always says."""
        lines = self.text("said").splitlines()
        return "; ".join(line for line in lines if not _USUAL.match(line))

    def dropped(self, events: int) -> int | None:
        """How many events were lost there, of which so many came; None where nothing tells."""
        counted = re.search(r"^(\d+) packets? dropped by kernel", self.text("said"), re.MULTILINE)
        if counted is not None:
            return int(counted[1])
        after = re.search(r"^after (.*)$", self.text("said"), re.MULTILINE)
        before, now = _statistics(self.text("before")), _statistics(after[1] if after else "")
        if before is None or now is None:
            return None
        if self.text("way") == "text":
            return max(now.text_lost - before.text_lost, 0)
        # Of read() the kernel does not tell; but it counts what passes while there is a reader.
        return max(now.events - before.events - events, 0)


# A folder of a device or interface, one of HID in it at the most, and a name.
_FILE: Final = re.compile(r"(?:(?!\.)[\w.:-]{1,64}/){1,2}(?!\.)\w{1,64}", re.ASCII)
_USUAL: Final = re.compile(
    r"code \d+$|after |tcpdump: (listening|verbose|data link type)|\d+ packets? |dropped privs"
)


def _statistics(line: str) -> Statistics | None:
    try:
        return parse(line.strip())
    except FormatError:
        return None
