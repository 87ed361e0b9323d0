"""The built-in schemes and adapters by name: strings only, so that reading the tables imports nothing."""

SCHEMES: dict[str, str] = {}
ADAPTERS: dict[str, str] = {}
