"""Any bytes, cut anywhere, give events or FormatError; and records that were read are written as
they were."""

import harness
from harness import binary


def target(data: bytes) -> None:
    # The header's size is found from the first bytes that come, so here it is told.
    for header, encoder in ((64, binary.BinaryEncoder), (48, binary.Binary48Encoder)):

        def new_decoder(header: int = header) -> binary.BinaryDecoder:
            return binary.BinaryDecoder(header=header)

        events = harness.whole_and_cut(new_decoder, data)
        if events is None:
            continue
        written = bytes(encoder().encode(events))
        again = harness.whole_and_cut(new_decoder, written)
        assert again is not None
        assert bytes(encoder().encode(again)) == written


if __name__ == "__main__":
    harness.run(target, harness.examples("*.bin"))
