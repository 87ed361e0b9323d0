"""Bytes to and from a peer: streams over descriptors and children, and the one loop that pumps messages through."""
