"""All long and short options: casync's own first, in its order, then ours. Imports nothing heavy.

An option means something to the verbs that its row names. With every other verb it is accepted, its value is checked,
and nothing follows from it, as with casync.
"""

from __future__ import annotations

from typing import NamedTuple

from casync_py.cli.verb_table import READERS, SERVERS, WEB_SERVERS, WORKING

OUTPUT = "Messages and results"
STORES = "Chunks and where they live"
RECORDED = "What an archive records"
EXTRACTING = "How files are restored"
SERVING = "What is served"
NETWORK = "Over the network"
MACHINE = "How much of the machine to use"

PANELS = (SERVING, STORES, RECORDED, EXTRACTING, NETWORK, MACHINE, OUTPUT)  # in the order of help

ANY = WORKING
_ALL = (*WORKING, *SERVERS, *WEB_SERVERS)
_SCANNING = ("make", "list", "mtree", "stat", "digest")  # they read directories


class Option(NamedTuple):
    """One option.

    Attributes:
        name: long name, without dashes.
        metavar: what its value is called in help; empty for an option without a value.
        help: one or two sentences; empty for options that are answered at once (--help, --version).
        verbs: the verbs to which it means something.
        panel: heading in help under which it stands.
        default: as help shows it.
        short: letter of the short form.
        repeatable: whether each value counts, not just the last.
        hidden: not for people.
    """

    name: str
    metavar: str = ""
    help: str = ""
    verbs: tuple[str, ...] = ()
    panel: str = OUTPUT
    default: str = ""
    short: str = ""
    repeatable: bool = False
    hidden: bool = False

    @property
    def key(self) -> str:
        """Its name as an identifier, which `with` alone is not."""
        return self.name.replace("-", "_") + ("_" if self.name == "with" else "")


CASYNC_OPTIONS = (
    Option("help", short="h"),
    Option("version"),
    Option(
        "log-level",
        "LEVEL",
        "Least urgent messages to show: emerg, alert, crit, err, warning, notice, info, debug or 0 to 7.",
        _ALL,
        default="info",
        short="l",
    ),
    Option(
        "verbose",
        "",
        "Name each file as it is done, say what the other end of a connection is, show a traceback with an error.",
        _ALL,
        short="v",
    ),
    Option("dry-run", "", "Only print what would be removed.", ("gc",), short="n"),
    Option(
        "store",
        "STORE",
        "The store: a directory of chunks, usually called NAME.castr, here or on another machine (HOST:PATH).",
        ANY,
        STORES,
        "$CASYNC_STORE, else default.castr beside the index",
    ),
    Option("extra-store", "STORE", "Look here too for chunks that the store lacks.", READERS, STORES, repeatable=True),
    Option(
        "chunk-size",
        "SIZE",
        "Average size of a chunk, or MIN:AVG:MAX. Smaller chunks find more in common and are more work.",
        ("make",),
        STORES,
        "64K, that is 16K:64K:256K",
    ),
    Option("seed", "PATH", "Take chunks from this file or directory too.", ("extract",), STORES, repeatable=True),
    Option("cache", "PATH", "Remember here what was read, to skip it next time.", ("make",), STORES),
    Option("cache-auto", "", "The same, in INPUT/.cacac.", ("make",), STORES, short="c"),
    Option("rate-limit-bps", "SIZE", "Most bytes a second to and from the network.", ANY, MACHINE),
    Option(
        "with",
        "FEATURE",
        "Metadata to keep or show: best, unix, fat, or single features (--with=help lists them). Default: all.",
        ANY,
        RECORDED,
        repeatable=True,
    ),
    Option("without", "FEATURE", "Metadata to leave out, named as for --with.", ANY, RECORDED, repeatable=True),
    Option(
        "what",
        "KIND",
        "What is made or read: archive, archive-index, blob, blob-index or directory.",
        ANY,
        RECORDED,
        "told by the suffix, else by what is there",
    ),
    Option("exclude-nodump", "yes|no", "Leave out files with chattr's d flag (nodump).", _SCANNING, RECORDED, "yes"),
    Option("exclude-submounts", "yes|no", "Leave out what is mounted below.", _SCANNING, RECORDED, "no"),
    Option("exclude-file", "yes|no", "Leave out what .caexclude files in the tree list.", _SCANNING, RECORDED, "yes"),
    Option(
        "undo-immutable",
        "yes|no",
        "Clear chattr's i flag (immutable) of files that are in the way.",
        ("extract",),
        EXTRACTING,
        "no",
    ),
    Option(
        "delete",
        "yes|no",
        "Remove files that the archive does not have from the output.",
        ("extract",),
        EXTRACTING,
        "yes",
    ),
    Option("punch-holes", "yes|no", "Leave runs of zeros as holes.", ("extract",), EXTRACTING, "yes"),
    Option("reflink", "yes|no", "Share blocks with seeds.", ("extract",), EXTRACTING, "no"),
    Option("hardlink", "yes|no", "Link files to seeds.", ("extract",), EXTRACTING, "no"),
    Option("seed-output", "yes|no", "Take chunks from what the output had before.", ("extract",), EXTRACTING, "no"),
    Option("recursive", "yes|no", "List everything below too.", ("list",), OUTPUT, "yes"),
    Option("mkdir", "yes|no", "Create the mount directory.", ("mount",), OUTPUT, "yes"),
    Option("uid-shift", "yes|no|N", "Shift numeric owners.", ANY, RECORDED, "no"),
    Option("uid-range", "yes|no|N", "Restrict numeric owners.", ANY, RECORDED, "no"),
    Option(
        "digest",
        "NAME",
        "Names chunks: sha512-256, sha256, or blake3 (much faster, and unknown to casync).",
        ("make", "mtree", "stat", "digest"),
        STORES,
        "sha512-256",
    ),
    Option(
        "compression",
        "NAME",
        "Compression of new chunks: zstd, xz, gzip or none, with a level as in zstd:9. Any of them can be read.",
        ("make", "push", "serve", "serve-stdio"),
        STORES,
        "zstd",
    ),
)

OUR_OPTIONS = (
    Option(
        "archive-digest",
        "yes|no",
        "Compute the digest of the whole stream, which make prints. Without it, make is faster and prints nothing.",
        ("make",),
        STORES,
        "yes",
    ),
    Option(
        "mirror",
        "STORE",
        "Another place of what the store has; chunks come from there while the store fails.",
        READERS,
        STORES,
        repeatable=True,
    ),
    Option("cache-store", "DIR", "Keep chunks that were fetched in this store, and look there first.", READERS, STORES),
    Option(
        "cache-size",
        "SIZE",
        "Most bytes that the store cache takes; what was not used for longest goes first.",
        (*READERS, *WEB_SERVERS),
        STORES,
        "no limit",
    ),
    Option(
        "http-header",
        "NAME: VALUE",
        "Send this header to the servers that are named, as in 'Authorization: Bearer ...'; an environment variable, "
        "$CASYNC_PY_HTTP_HEADER, keeps it out of the list of processes. Names and passwords are read from ~/.netrc.",
        (*WORKING, *WEB_SERVERS),
        NETWORK,
        repeatable=True,
    ),
    Option(
        "tls-cert",
        "FILE",
        "Our certificate (PEM): to show to servers that ask for one, or to serve with.",
        (*WORKING, *WEB_SERVERS),
        NETWORK,
    ),
    Option("tls-key", "FILE", "Its key (PEM), unless it is in the same file.", (*WORKING, *WEB_SERVERS), NETWORK),
    Option(
        "tls-ca",
        "FILE",
        "Certificates (PEM) of the authorities by which servers are known.",
        (*WORKING, *WEB_SERVERS),
        NETWORK,
        "the system's",
    ),
    Option(
        "retries",
        "N",
        "How often to try again what fails over HTTP, with pauses from 0.2 to 15 seconds; of an upstream server, twice "
        "at most, because clients try again themselves.",
        (*WORKING, *WEB_SERVERS),
        NETWORK,
        "6",
    ),
    Option("json", "", "Print results as JSON, one object a line.", (*ANY, *WEB_SERVERS)),
    Option("jobs", "N", "Threads that digest and compress.", _ALL, MACHINE, "one for each processor"),
    Option("memory", "SIZE", "Memory for data in flight; the process takes some 60 MiB more.", _ALL, MACHINE, "96M"),
    Option(
        "timeout",
        "SECONDS",
        "How long the other end of a connection may be silent while something is expected of it; 0: for ever.",
        _ALL,
        MACHINE,
        "120",
    ),
    Option(
        "listen",
        "ADDRESS",
        "Where to listen: HOST:PORT, HOST or :PORT; port 0 picks a free one. Anything but this machine's own addresses "
        "needs --token-file, --tls-cert or --insecure.",
        WEB_SERVERS,
        SERVING,
        "127.0.0.1:8042",
    ),
    Option("socket", "PATH", "Listen on a Unix socket instead.", WEB_SERVERS, SERVING),
    Option("writable", "", "Take chunks, indexes and archives too, not only give them.", WEB_SERVERS, SERVING),
    Option(
        "token-file",
        "FILE",
        "Serve only those who present one of the tokens in this file, one a line.",
        WEB_SERVERS,
        SERVING,
    ),
    Option(
        "client-ca", "FILE", "Serve only those who show a certificate of these authorities (PEM).", WEB_SERVERS, SERVING
    ),
    Option("insecure", "", "Listen for anyone, without tokens or TLS.", WEB_SERVERS, SERVING),
    Option(
        "upstream",
        "URL",
        "Fetch what is not here from this server, verify it and keep it; --cache-size bounds what is kept.",
        WEB_SERVERS,
        SERVING,
    ),
    Option("access-log", "FILE", "Append a line for each request; '-' is standard output.", WEB_SERVERS, SERVING),
    Option("max-upload", "SIZE", "Most bytes of an index or archive that is taken.", WEB_SERVERS, SERVING, "16G"),
    Option("root", "DIR", "Serve what is below this directory.", ("serve-stdio",), SERVING, repeatable=True),
    Option("read-only", "", "Serve pull only.", ("serve-stdio",), SERVING),
    Option("peer", "1", "The client is casync-py, which says so itself.", ("pull", "push"), SERVING, hidden=True),
    Option("sync", "yes|no", "Wait until the extracted tree is on disk.", ("extract",), EXTRACTING, "no"),
)

OPTIONS = {option.name: option for option in (*CASYNC_OPTIONS, *OUR_OPTIONS)}
SHORT_OPTIONS = {option.short: option for option in CASYNC_OPTIONS if option.short}
