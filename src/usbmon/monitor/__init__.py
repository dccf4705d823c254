"""The monitor: listens on buses and serves what it sees to readers, as the kernel's does.

`main` is drivers/usb/mon/mon_main.c, `text` mon_text.c, `binary` mon_bin.c, `stat` mon_stat.c;
`collector` is a reader of our own, which gives `Events`.
"""
