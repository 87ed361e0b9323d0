"""The built-in schemes and adapters by name: strings only, so that reading the tables imports nothing."""

SCHEMES: dict[str, str] = {
    "path": "casync_py.remotes.path:PathEndpoint",
    "ssh": "casync_py.remotes.ssh.endpoint:SshEndpoint",
    "http": "casync_py.remotes.http.endpoint:HttpEndpoint",
    "https": "casync_py.remotes.http.endpoint:HttpEndpoint",
}
ADAPTERS: dict[str, str] = {}
