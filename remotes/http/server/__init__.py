"""The HTTP server: `casync-py serve`."""
