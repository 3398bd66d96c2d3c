"""A local server comes up from the wheel, tells what went wrong and leaves nothing behind."""

from __future__ import annotations

import importlib.util
import os
import signal
from pathlib import Path

import psycopg
import pytest

from audit_schema.local_server import LocalServer, LocalServerError, embedded_bindir


def test_embedded_server_comes_up_and_goes_away() -> None:
    with LocalServer() as server, server.connect() as connection:
        assert connection.info.server_version >= 180000
        assert server.folder.stat().st_mode & 0o777 == 0o700
        assert connection.execute("SHOW listen_addresses").fetchone() == ("",)
    assert not server.folder.exists()
    assert server.process is not None
    assert server.process.returncode is not None


def test_kept_server_runs_until_it_is_stopped() -> None:
    with LocalServer(keep=True) as server:
        pass
    server.connect().close()
    assert server.process is not None
    assert f"kill -QUIT {server.process.pid}" in server.stop_command
    server.stop()
    assert not server.folder.exists()


def test_paused_server_leaves_its_data_to_others_and_starts_again() -> None:
    with LocalServer() as server:
        with server.connect(autocommit=True) as connection:
            connection.execute("CREATE TABLE kept ()")
        with server.paused():
            with pytest.raises(psycopg.OperationalError):
                server.connect()
            done = server.run(
                *(server.bindir / "postgres", "--single", "-D", server.data, "postgres"),
                stdin="SELECT count(*) FROM kept\n",
            )
            assert 'count = "0"' in done.stdout, done.stderr
        with server.connect() as connection:
            assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root changes to another user")
def test_command_runs_as_the_user_of_the_server() -> None:
    with LocalServer() as server:
        assert int(server.run("id", "-u").stdout) == server.folder.stat().st_uid != 0


def test_tcp_is_an_option() -> None:
    with LocalServer(tcp=True) as server, psycopg.connect(server.url(tcp=True)) as connection:
        client = connection.execute("SELECT host(inet_client_addr())").fetchone()
        assert client == ("127.0.0.1",)


def test_url_names_the_driver_and_quotes_names() -> None:
    server = LocalServer()
    assert server.url("my db", "a@b", driver="asyncpg") == (
        f"postgresql+asyncpg://a%40b@/my%20db?host={server.folder}&port=5432"
    )
    assert not server.folder.exists()


def test_environment_of_the_caller_does_not_reach_the_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PGDATA", "/nowhere")
    monkeypatch.setenv("TZ", "Europe/Warsaw")
    with LocalServer() as server, server.connect() as connection:
        assert connection.execute("SHOW TimeZone").fetchone() in [("UTC",), ("Etc/UTC",)]


def test_start_error_says_what_postgresql_said() -> None:
    server = LocalServer(settings={"no_such_setting": 1})
    with pytest.raises(LocalServerError, match=r'unrecognized configuration.*"no_such_setting"'):
        server.__enter__()
    assert not server.folder.exists()


def test_wrong_folder_of_programs_is_named() -> None:
    with pytest.raises(LocalServerError, match="no PostgreSQL programs in /nowhere/bin"):
        LocalServer(Path("/nowhere/bin")).__enter__()


def test_missing_wheel_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(LocalServerError, match=r"pip install 'audit-schema\[embedded\]'"):
        embedded_bindir()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root changes to another user")
def test_programs_behind_a_closed_door_are_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = embedded_bindir().parents[1]
    tmp_path.chmod(0o700)
    for source in (package, package.with_name(f"{package.name}.libs")):
        if source.is_dir():
            (tmp_path / source.name).symlink_to(source)
    closed = tmp_path / package.name / "pginstall" / "bin"
    monkeypatch.setattr("audit_schema.local_server.embedded_bindir", lambda: closed)
    with LocalServer() as server, server.connect() as connection:
        assert server.bindir.is_relative_to(server.folder)
        assert connection.execute("SELECT 1").fetchone() == (1,)
    assert tmp_path.stat().st_mode & 0o777 == 0o700


def test_stop_is_harmless_when_the_server_died() -> None:
    with LocalServer() as server:
        assert server.process is not None
        server.process.send_signal(signal.SIGQUIT)
        server.process.wait(timeout=10)
    assert not server.folder.exists()
