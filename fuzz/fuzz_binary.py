"""Any bytes, cut anywhere, give events or FormatError; and records that were read are written as
they were."""

import harness
from harness import binary

from usbmon.events import Events


def target(data: bytes) -> None:
    # The header's size is found from the first bytes that come, so here it is told.
    for header, encoder in ((64, binary.BinaryEncoder), (48, binary.Binary48Encoder)):
        decoders: list[binary.BinaryDecoder] = []

        def new_decoder(
            header: int = header, decoders: list[binary.BinaryDecoder] = decoders
        ) -> binary.BinaryDecoder:
            decoders.append(binary.BinaryDecoder(header=header))
            return decoders[-1]

        try:
            events = harness.whole_and_cut(new_decoder, data)
        except AssertionError:
            # Where GETX cut records is guessed from what has come so far; of a damaged stream,
            # more of it can tell otherwise.
            if all(decoder.alloc is None for decoder in decoders):
                raise
            continue
        if events is None:
            continue
        written = bytes(encoder().encode(events))
        assert bytes(encoder().encode(_read(header, written))) == written


def _read(header: int, data: bytes) -> Events:
    decoder = binary.BinaryDecoder(header=header)
    return Events.concat([decoder.feed(data), decoder.close()])


if __name__ == "__main__":
    harness.run(target, harness.examples("*.bin"))
