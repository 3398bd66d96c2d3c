"""What docs/testing.md shows works: pytest-postgresql with our migrations in its template."""

from __future__ import annotations

import re
from typing import Any

import psycopg
import pytest
from pytest_postgresql.janitor import DatabaseJanitor

import audit_schema
from servers import ROOT, Server


def test_each_test_gets_a_copy_of_a_migrated_template(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (ROOT / "docs" / "testing.md").read_text()
    migrate = re.search(r"^def migrate.*?upgrade\(url\)$", page, re.MULTILINE | re.DOTALL)
    assert migrate is not None
    names: dict[str, Any] = {}
    exec(f"import sqlalchemy, audit_schema\n{migrate[0]}", names)

    address: dict[str, Any] = {
        "user": "postgres",
        "host": str(server.folder),
        "port": server.port,
    }
    template = DatabaseJanitor(**address, dbname="user_template", as_template=True)
    with template, psycopg.connect(server.url("user_template")) as connection:
        template.load(names["migrate"])
        connection.execute("CREATE TABLE orders (id int PRIMARY KEY, status text)")
        connection.execute("SELECT audit.attach('orders')")
        connection.execute("INSERT INTO orders VALUES (17, 'paid')")
        connection.commit()
        connection.close()
        with DatabaseJanitor(**address, dbname="user_test", template_dbname="user_template"):
            copy = psycopg.connect(server.url("user_test"))
            audit_schema.install(copy)
            with audit_schema.context(actor="42", reason="refund"), copy:
                copy.execute("UPDATE orders SET status = 'refunded' WHERE id = 17")
                change = audit_schema.history(copy, "orders", 17)[0]
    assert (change.actor, change.metadata) == ("42", {"reason": "refund"})
    assert change.new_values == {"status": "refunded"}
