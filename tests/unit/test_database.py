"""Which database a URL, the environment or nothing names."""

from __future__ import annotations

import pytest

from audit_schema import AuditSchemaError
from audit_schema.database import connect, sqlalchemy_url


@pytest.mark.parametrize(
    "url",
    [
        "postgres://u:p%40@h:1/d?sslmode=require",
        "postgresql://u:p%40@h:1/d?sslmode=require",
        "postgresql+psycopg://u:p%40@h:1/d?sslmode=require",
        "postgresql+asyncpg://u:p%40@h:1/d?sslmode=require",
        "postgresql+psycopg2://u:p%40@h:1/d?sslmode=require",
    ],
)
def test_every_postgresql_url_is_psycopg(url: str) -> None:
    expected = "postgresql+psycopg://u:p%40@h:1/d?sslmode=require"
    assert sqlalchemy_url(url).render_as_string(hide_password=False) == expected


def test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    assert str(sqlalchemy_url(None)) == "postgresql+psycopg://"
    monkeypatch.setenv("DATABASE_URL", "")
    assert str(sqlalchemy_url(None)) == "postgresql+psycopg://"
    monkeypatch.setenv("DATABASE_URL", "postgres://h/from_environment")
    assert sqlalchemy_url(None).database == "from_environment"
    assert sqlalchemy_url("postgresql://h/given").database == "given"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("sqlite:///x.db", "needs PostgreSQL, the URL says 'sqlite'"),
        ("mysql+pymysql://h/d", "needs PostgreSQL, the URL says 'mysql'"),
        ("not a URL", "can't be read; write postgresql://"),
        ("postgresql://h:port/d", "can't be read"),
    ],
)
def test_other_urls_are_refused(url: str, message: str) -> None:
    with pytest.raises(AuditSchemaError, match=message):
        sqlalchemy_url(url)


def test_unreachable_server() -> None:
    with pytest.raises(AuditSchemaError, match=r"(?s)can't connect to .*HINT: Start") as caught:
        connect("postgresql://somebody:secret@127.0.0.1:1/nowhere")
    assert "secret" not in str(caught.value)


def test_unknown_option() -> None:
    with pytest.raises(AuditSchemaError, match="can't be used: invalid connection option"):
        connect("postgresql://127.0.0.1:1/d?nonsense=1")


def test_libpq_variables_decide_without_a_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setenv("PGHOST", "127.0.0.1")
    monkeypatch.setenv("PGPORT", "1")
    with pytest.raises(AuditSchemaError, match="port 1 failed"):
        connect()
