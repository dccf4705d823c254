"""A virtual USB bus: host controller, hubs, device models and host drivers, in virtual time.

Knows nothing of traces: who wants to see what goes on hangs a tap on a controller (`hcd.Tap`).
"""
