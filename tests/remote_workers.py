"""What workers away from this machine's processes run in tests, and what must hold for them on every tier."""

from __future__ import annotations

FACTS = """
import json, os, pathlib
lines = pathlib.Path("/proc/self/status").read_text().splitlines()
status = dict(line.split(":\\t") for line in lines if ":\\t" in line)
def is_writable(path):
    try:
        (pathlib.Path(path) / "probe").write_text("x")
    except OSError:
        return False
    return True
asked = ("/", "/usr", "/workspace", "/home", "/tmp", "/winnow", "/dev/shm")
print(json.dumps({
    "uid": os.getuid(), "gid": os.getgid(), "capabilities": status["CapEff"].strip(),
    "bounding": status["CapBnd"].strip(), "no_new_privileges": status["NoNewPrivs"].strip(),
    "writable": [path for path in asked if is_writable(path)],
    "socket": os.path.exists("/var/run/docker.sock"), "token": os.path.exists("/var/run/secrets/kubernetes.io"),
    "shm_bytes": os.statvfs("/dev/shm").f_blocks * os.statvfs("/dev/shm").f_frsize,
    "secret": os.environ["TOKEN"], "home": os.environ["WINNOW_HOME"], "literal": os.environ["LITERAL"],
    "links": [name for name in os.environ if name.startswith("WINNOW_TRAIN_")],
}))
"""
"""Says what a worker may do; it is to have TOKEN as a secret and LITERAL in its environment."""

TOKEN, LITERAL = "s3cret", "$(TOKEN) $$"

HELD_IN = {
    "uid": 10001,
    "gid": 10001,
    "capabilities": "0" * 16,
    "bounding": "0" * 16,
    "no_new_privileges": "1",
    "writable": ["/tmp", "/winnow", "/dev/shm"],
    "socket": False,
    "token": False,
    "secret": TOKEN,
    "home": "/winnow",
    "literal": LITERAL,
    "links": [],
}
"""What `FACTS` says on every tier, beside the size of the shared memory."""

DEAF = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('at work', flush=True); time.sleep(60)"
)
"""Does not stop when it is asked to."""

REACHES = """
import json, os, socket, urllib.request as u, psycopg
ask = u.Request(os.environ['URI'] + '/api/2.0/mlflow/experiments/search', b'{"max_results": 1}',
                {'Content-Type': 'application/json'})
url = os.environ['STORAGE'].replace('+psycopg', '')
with u.urlopen(ask) as answer, psycopg.connect(url) as studies:
    found = [answer.status, studies.execute('SELECT current_database()').fetchone()[0]]
try:
    psycopg.connect(url.removesuffix('/winnow') + '/mlflow')
except psycopg.OperationalError:
    found.append('refused')
for store in filter(None, [os.environ.get('ARTIFACTS')]):
    try:
        socket.create_connection((store, 9000), 3)
    except OSError:
        found.append('no way to the artifacts')
print(json.dumps(found))
"""
"""Says what a worker of a stack reaches: the server, the studies; not the server's database, nor its ARTIFACTS."""
