"""Content-addressed sync of file trees and disk images, with casync's own formats and protocol."""

__version__ = "0.1.0"
