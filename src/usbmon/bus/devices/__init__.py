"""Device models: one module a class of device. To add one: a file here and a row in `catalogue`."""
