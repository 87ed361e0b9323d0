"""The verbs, composed from the interfaces; no argument parsing, no printing."""
