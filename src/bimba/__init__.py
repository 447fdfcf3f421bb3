"""Ask questions about long videos."""

__version__ = "0.1.0"
