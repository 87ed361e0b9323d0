"""casync's protocol as a value: bytes in, messages out, no I/O and no clock.

Source: casync caprotocol.h, caremote.c.
"""
