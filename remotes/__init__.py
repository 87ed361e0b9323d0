"""The built-in schemes and adapters by name: strings only, so that reading the tables imports nothing."""

SCHEMES: dict[str, str] = {
    "path": "casync_py.remotes.path:PathEndpoint",
}
ADAPTERS: dict[str, str] = {}
