"""The built-in schemes and adapters by name: strings only, so that reading the tables imports nothing."""

SCHEMES: dict[str, str] = {
    "path": "casync_py.remotes.path:PathEndpoint",
    "ssh": "casync_py.remotes.ssh.endpoint:SshEndpoint",
}
ADAPTERS: dict[str, str] = {}
