"""${message}"""

from audit_schema.replaceable import replace, restore

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
SQL: tuple[str, ...] = ()


def upgrade() -> None:
    replace(revision, *SQL)


def downgrade() -> None:
    restore(revision, *SQL)
