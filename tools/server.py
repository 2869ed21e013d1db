"""Starts a tracking server for a team: MLflow on a PostgreSQL of its own, artifacts in a folder, this machine only."""

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

DATABASE = "mlflow"
HOMES = {
    True: Path("/var/lib/openmidm"),
    False: Path("~/.local/share/openmidm/server").expanduser(),
}  # for root, others


def main() -> None:
    """`--port`, `--place` for database and artifacts, `--hosts` further names that a proxy may call it by."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=5000)
    parser.add_argument("--place", type=Path, default=HOMES[os.geteuid() == 0])
    parser.add_argument("--hosts", default="", help="comma-separated, besides localhost and 127.0.0.1")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        with database(asked.place) as address, contextlib.suppress(KeyboardInterrupt):
            command = server(address, asked.place / "artifacts", asked.port, asked.hosts)
            with subprocess.Popen(command, start_new_session=True) as running:
                try:
                    running.wait()
                finally:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(running.pid, signal.SIGTERM)  # its workers too
    except (OSError, LookupError, subprocess.CalledProcessError) as error:
        sys.exit(f"error: {error}")


def server(database: str, artifacts: Path, port: int, hosts: str) -> list[str]:
    """The command of MLflow's server: it hands out artifacts itself, and answers to the names given alone."""
    names = [f"localhost:{port}", f"127.0.0.1:{port}", *filter(None, hosts.split(","))]
    command = ["-m", "mlflow", "server", "--backend-store-uri", database, "--serve-artifacts"]
    command += ["--artifacts-destination", str(artifacts.absolute()), "--workers", "1"]
    return [sys.executable, *command, "--host", "127.0.0.1", "--port", str(port), "--allowed-hosts", ",".join(names)]


@contextlib.contextmanager
def database(place: Path) -> Iterator[str]:
    """A running PostgreSQL in `place`, reached by a socket in a folder of mode 0700 alone: its address for SQLAlchemy.

    Started by root, it runs as Debian's user postgres, for PostgreSQL refuses root. LookupError: it is not installed.
    """
    import psycopg2

    user = "postgres" if os.geteuid() == 0 else None
    folder = place.absolute() / "postgres"
    folder.mkdir(parents=True, exist_ok=True)
    if user:
        shutil.chown(folder, user)
    folder.chmod(0o700)
    about = {"user": user, "cwd": folder, "env": {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}}
    if not (folder / "data").exists():
        # whoever can enter the folder is the owner of the database, so the socket asks for no password
        initdb = [program("initdb"), "--auth=trust", f"--username={DATABASE}", "--encoding=UTF8", "-D", "data"]
        subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL, **about)
    running = subprocess.Popen([program("postgres"), "-D", "data", "-k", str(folder), "-h", ""], **about)
    try:
        connection = connected(psycopg2, str(folder), running)
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,))
            if not cursor.fetchone():
                cursor.execute(f"CREATE DATABASE {DATABASE}")
        connection.close()
        yield f"postgresql+psycopg2://{DATABASE}@/{DATABASE}?host={folder}"
    finally:
        running.send_signal(signal.SIGINT)  # its fast shutdown: clients are sent away, all is written
        running.wait(60)


def connected(psycopg2, folder: str, running: "subprocess.Popen[bytes]"):  # type: ignore[no-untyped-def]
    """A connection to the database that every cluster has, as soon as it answers."""
    for _ in range(300):
        with contextlib.suppress(psycopg2.OperationalError):
            return psycopg2.connect(host=folder, user=DATABASE, dbname="postgres")
        if running.poll() is not None:
            break
        time.sleep(0.2)
    raise LookupError(f"PostgreSQL in {folder} does not start; its words stand above")


def program(name: str) -> str:
    """Debian's newest, which is not on the path, else the one that is."""
    debian = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[4]))
    found = debian[-1] if debian else shutil.which(name)
    if not found:
        raise LookupError(f"no {name}; apt-get install postgresql")
    return str(found)


if __name__ == "__main__":
    main()
