"""Bytes of casync's formats to frozen values and back; no files, no clock."""
