"""A dump takes the trail along: history and attachment survive a restore into another database."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

from servers import Database, Server

HISTORY = """
    SELECT action, actor, old_values, new_values FROM audit.history('app_data.orders', '1')
"""


def test_history_and_attachment_survive_dump_and_restore(
    server: Server, database: Database, clone: Callable[[str], Database]
) -> None:
    with database.connect() as connection:
        connection.execute("CREATE TABLE app_data.orders (id int PRIMARY KEY, total numeric)")
        connection.execute("SELECT audit.attach('app_data.orders')")
        connection.execute("SELECT audit.set_context('42')")
        connection.execute("INSERT INTO app_data.orders VALUES (1, 1.50)")
    dump = [str(server.bindir / "pg_dump"), "-Fc", "-d", database.url("postgres")]
    archive = subprocess.run(dump, capture_output=True, check=True).stdout

    restored = clone("blank")
    restore = [str(server.bindir / "pg_restore"), "--clean", "--if-exists", "--exit-on-error"]
    subprocess.run([*restore, "-d", restored.url("postgres")], input=archive, check=True)

    with restored.connect() as connection:
        before = connection.execute(HISTORY).fetchall()
        connection.execute("SELECT audit.set_context('43')")
        connection.execute("UPDATE app_data.orders SET total = 2")
        after = connection.execute(HISTORY).fetchall()
        run = connection.execute("SELECT status FROM audit.run_maintenance()").fetchone()
    assert run == ("ok",)
    insert = ("insert", "42", None, {"id": 1, "total": 1.5})
    assert before == [insert]
    assert after == [("update", "43", {"total": 1.5}, {"total": 2}), insert]
