"""The vocabulary of the USB standards: numbers, names and wire layouts. Imports nothing of ours."""
