"""QEMU's monitor: one command, one answer (QEMU Machine Protocol, docs/interop/qmp-spec)."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


class Qmp:
    """Connected to QEMU's socket at `path`. `monitor("device_add", driver="usb-kbd")`."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(60)
        self._socket.connect(str(path))
        self._lines = self._socket.makefile("rb")
        self._lines.readline()  # the greeting
        self("qmp_capabilities")

    def __call__(self, command: str, /, **arguments: object) -> Any:
        # Python's names have no `-`, and of QEMU's only those of devices' properties have a `_`.
        if command != "device_add":
            arguments = {name.replace("_", "-"): value for name, value in arguments.items()}
        request = {"execute": command, "arguments": arguments}
        self._socket.sendall(json.dumps(request).encode() + b"\n")
        while True:
            answer = json.loads(self._lines.readline())
            if "error" in answer:
                raise RuntimeError(f"QEMU: {command} {arguments}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]

    def close(self) -> None:
        self._lines.close()
        self._socket.close()
