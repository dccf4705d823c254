"""Events of any format are written in every format; and what was written is read and written the
same for ever after."""

import harness
from harness import files, formats

from usbmon.errors import FormatError, UsbmonError
from usbmon.events import Events

_WRITABLE = [format for format in formats.FORMATS if format.encoder]


def _written(format: formats.Format, events: Events) -> bytes:
    encoder = format.new_encoder()
    return encoder.begin() + bytes(encoder.encode(events))


def target(data: bytes) -> None:
    try:
        events = files.decode(data)
    except UsbmonError:
        return
    for format in _WRITABLE if len(events) else ():
        try:
            again = files.decode(_written(format, events), format=format.name)
        except FormatError:
            # A stream of records has no magic: one of malformed events cannot be told from noise.
            assert format.name in ("bin", "bin48"), format.name
            continue
        assert len(again) == len(events), format.name
        # The first time, a malformed event can lose what the format has no place for.
        kept = _written(format, again)
        assert _written(format, files.decode(kept, format=format.name)) == kept, format.name


if __name__ == "__main__":
    kinds = ("*.txt", "*.bin", "*.pcap")
    harness.run(target, [seed[:600] for kind in kinds for seed in harness.examples(kind)])
