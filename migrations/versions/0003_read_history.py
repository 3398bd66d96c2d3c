"""read history: views, read functions and status"""

from audit_schema.replaceable import replace, run_verbatim

revision = "0003"
down_revision = "0002"
SQL: tuple[str, ...] = (
    "functions/_microseconds.sql",
    "functions/_from_microseconds.sql",
    "functions/transaction_id.sql",
    "functions/_transaction_key.sql",
    "functions/_cursor.sql",
    "functions/_cursor_parts.sql",
    "functions/_page_start.sql",
    "functions/_check_tracked.sql",
    "functions/grant_read.sql",
    "functions/revoke_read.sql",
    "functions/set_retention.sql",
    "functions/place_hold.sql",
    "functions/release_hold.sql",
    "functions/set_archive.sql",
    "functions/start_archive.sql",
    "functions/finish_archive.sql",
    "functions/verify_archive.sql",
    "functions/_key_type.sql",
    "functions/_cast_key.sql",
    "views/change.sql",
    "views/column_change.sql",
    "functions/_as_change.sql",
    "functions/history.sql",
    "functions/transaction_changes.sql",
    "functions/actor_activity.sql",
    "functions/search.sql",
    "functions/_counted_hours.sql",
    "functions/event_counts.sql",
    "functions/actor_counts.sql",
    "functions/_attach_call.sql",
    "functions/_table_problems.sql",
    "functions/_object_problems.sql",
    "functions/_uncovered_tables.sql",
    "functions/status.sql",
    "functions/check.sql",
)

DROP = """
DROP FUNCTION
    audit.history, audit.transaction_changes, audit.actor_activity, audit.search, audit.status,
    audit.check, audit.grant_read, audit.revoke_read, audit.event_counts, audit.actor_counts,
    audit.set_retention, audit.place_hold, audit.release_hold, audit.set_archive,
    audit.start_archive, audit.finish_archive, audit.verify_archive;
DROP FUNCTION audit._as_change;
DROP VIEW audit.column_change, audit.change;
DROP FUNCTION
    audit.transaction_id, audit._transaction_key, audit._cursor, audit._cursor_parts,
    audit._page_start, audit._check_tracked, audit._counted_hours,
    audit._cast_key, audit._key_type, audit._table_problems,
    audit._attach_call, audit._object_problems, audit._uncovered_tables,
    audit._microseconds, audit._from_microseconds;
"""


def upgrade() -> None:
    replace(revision, *SQL)
    run_verbatim("SELECT audit.apply_privileges(); SELECT audit._remember_objects();")


def downgrade() -> None:
    run_verbatim(DROP + "SELECT audit._remember_objects();")
