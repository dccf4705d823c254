from tests.monitor.test_main import Counter
from usbmon.monitor.main import MonitoredBus
from usbmon.monitor.stat import statistics


def test_the_kernels_line():
    bus = MonitoredBus(1, lambda: None)
    bus.add(Counter())
    bus.events, bus.text_lost = 368, 2
    assert statistics(bus) == b"nreaders 1 events 368 text_lost 2\n"
