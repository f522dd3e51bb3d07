from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from winnow.config.errors import InputError
from winnow.tracking.connection import open_client, sqlite_path
from winnow.tracking.store import prepare
from winnow.tracking.tracker import TrackingUnavailableError


def test_sqlite_addresses_name_their_file() -> None:
    assert sqlite_path("sqlite:////srv/mlflow.db") == Path("/srv/mlflow.db")
    assert sqlite_path("sqlite:///mlflow.db") == Path("mlflow.db")
    assert sqlite_path("http://127.0.0.1:5000") is None
    assert sqlite_path("postgresql+psycopg2://me@db/mlflow") is None


@pytest.mark.slow
def test_processes_that_prepare_the_same_new_file_at_once_all_find_it_whole(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/deep/mlflow.db"
    code = (
        "from winnow.tracking.store import prepare; from winnow.tracking.connection import open_client;"
        f"prepare({uri!r}); print(open_client({uri!r}).create_experiment(str(__import__('os').getpid())))"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    outputs = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], outputs
    assert len({out for out, _ in outputs}) == 3
    assert [err for _, err in outputs] == ["", "", ""]
    file = tmp_path / "deep" / "mlflow.db"
    with sqlite3.connect(file) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_new_store_is_copied_from_the_first_one_and_made_anew_where_that_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    prepare(f"sqlite:///{tmp_path}/first/mlflow.db")
    (kept,) = (tmp_path / "cache" / "winnow").iterdir()
    assert kept.read_bytes() == (tmp_path / "first" / "mlflow.db").read_bytes()
    with sqlite3.connect(kept) as connection:
        connection.execute("CREATE TABLE copied (number INTEGER)")
    connection.close()
    prepare(f"sqlite:///{tmp_path}/second/mlflow.db")
    kept.write_bytes(b"damaged")
    prepare(f"sqlite:///{tmp_path}/third/mlflow.db")
    tables = []
    for name in ("first", "second", "third"):
        with sqlite3.connect(tmp_path / name / "mlflow.db") as connection:
            found = connection.execute("SELECT name FROM sqlite_master WHERE name IN ('copied', 'runs') ORDER BY name")
            tables.append([name for (name,) in found])
        connection.close()
    assert tables == [["runs"], ["copied", "runs"], ["runs"]]


def test_a_file_that_is_no_store_is_refused_and_kept(tmp_path: Path) -> None:
    file = tmp_path / "notes.db"
    file.write_text("my notes, long enough to be no empty SQLite file" * 20)
    with pytest.raises(InputError, match="no SQLite database"):
        prepare(f"sqlite:///{file}")
    assert file.read_text().startswith("my notes")


def test_another_database_is_refused_and_kept(tmp_path: Path) -> None:
    file = tmp_path / "studies.db"
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE trials (number INTEGER)")
    with pytest.raises(InputError, match="other tables"):
        prepare(f"sqlite:///{file}")


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=f"found a file at {tmp_path}/file"):
        prepare(f"sqlite:///{tmp_path}/file/mlflow.db")


def test_a_dead_server_is_an_input_error_within_seconds() -> None:
    started = time.monotonic()
    with pytest.raises(InputError, match=r"tracking store http://somebody:\*\*\*@127\.0\.0\.1:1: expected") as caught:
        prepare("http://somebody:secret@127.0.0.1:1")
    assert time.monotonic() - started < 6
    assert "secret" not in str(caught.value)


class _Refusing(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(403)
        self.end_headers()
        self.wfile.write(json.dumps("Invalid Host header - possible DNS rebinding attack detected").encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_a_server_that_knows_itself_by_another_name_gets_a_remedy() -> None:
    with HTTPServer(("127.0.0.1", 0), _Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(InputError, match=f"--allowed-hosts 127.0.0.1:{server.server_port},"):
            prepare(f"http://127.0.0.1:{server.server_port}")
        server.shutdown()


def test_a_store_that_nobody_made_is_not_made_by_opening_it(tmp_path: Path) -> None:
    with pytest.raises(TrackingUnavailableError):
        open_client(f"sqlite:///{tmp_path}/mlflow.db")
    assert list(tmp_path.iterdir()) == []
