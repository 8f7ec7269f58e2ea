"""hwkd: distil learned image codecs for small devices, and say exactly what that costs and saves."""

__version__ = "0.1.0"
