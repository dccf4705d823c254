from usbmon.formats import FORMATS


def test_every_format_is_listed_with_its_ways_and_suffixes(usbmon):
    lines = {line.split()[0]: line for line in usbmon("formats").lines if line.strip()}
    for format in FORMATS:
        line = lines[format.name]
        assert ("read" in line.split(format.words)[0]) == bool(format.decoder)
        assert ("write" in line.split(format.words)[0]) == bool(format.encoder)
        assert all(suffix in line for suffix in format.suffixes)


def test_columns_are_aligned_and_compressions_told(usbmon):
    lines = usbmon("formats").lines
    column = lines[0].index("what it is")
    assert all(lines[n + 1][column:] == format.words for n, format in enumerate(FORMATS))
    assert lines[-1] == "any of them compressed: .gz .bz2 .xz .zst"
