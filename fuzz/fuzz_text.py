"""Any bytes, cut anywhere, give events or FormatError; and what was read once is written and read
the same for ever after."""

import harness
from harness import text


def target(data: bytes) -> None:
    events = harness.whole_and_cut(text.TextDecoder, data)
    if events is None:
        return
    for encoder in (text.UEncoder, text.TEncoder):
        written = bytes(encoder().encode(events))
        again = harness.whole_and_cut(text.TextDecoder, written)
        assert again is not None
        assert len(again) == len(events)
        assert bytes(encoder().encode(again)) == written


if __name__ == "__main__":
    clean = harness.examples("*[ut].txt") + harness.examples("*stat.txt")
    dirty = [b"> " + seed.replace(b"\n", b"\r\n> ") for seed in clean]
    wrapped = [seed.replace(b" = ", b" =\n ") for seed in clean]
    logged = [seed.replace(b" C", b" [   12.345678] usb 1-1: reset\n C") for seed in clean]
    harness.run(target, [*clean, *dirty, *wrapped, *logged])
