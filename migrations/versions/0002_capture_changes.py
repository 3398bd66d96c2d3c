"""capture changes: trigger functions, attach and detach, context"""

from audit_schema.replaceable import replace, run_verbatim

revision = "0002"
down_revision = "0001"
SQL: tuple[str, ...] = (
    "functions/_key_columns.sql",
    "functions/_is_unique_key.sql",
    "functions/_row_to_jsonb.sql",
    "functions/_wide_row_key.sql",
    "functions/_row_key.sql",
    "functions/_has_foreign_types.sql",
    "functions/_policy.sql",
    "functions/_mask.sql",
    "functions/_apply_policy.sql",
    "functions/_recorded_key.sql",
    "functions/_refuse_anonymous.sql",
    "triggers/capture_row.sql",
    "triggers/capture_insert.sql",
    "triggers/capture_update.sql",
    "triggers/capture_delete.sql",
    "functions/_write_truncated_rows.sql",
    "triggers/capture_truncate.sql",
    "functions/_lock_tracked_tables.sql",
    "functions/_register_table.sql",
    "functions/_unregister_table.sql",
    "functions/_foreign_casts.sql",
    "functions/_check_attachable.sql",
    "functions/_check_mode.sql",
    "functions/_check_key.sql",
    "functions/_check_policy.sql",
    "functions/_check_readable.sql",
    "functions/_policy_argument.sql",
    "functions/_trigger_definitions.sql",
    "functions/_missing_triggers.sql",
    "functions/_stray_triggers.sql",
    "functions/_write_baseline.sql",
    "functions/record_baseline.sql",
    "functions/attach.sql",
    "functions/detach.sql",
    "functions/set_context.sql",
    "triggers/capture_ddl.sql",
    "functions/enable_ddl_capture.sql",
)

DROP = """
DO $guard$
DECLARE
    v_tables text := (SELECT string_agg(format('%I.%I', schema_name, table_name), ', ')
                        FROM audit.tracked_table AS k
                       WHERE k.detached_at IS NULL AND EXISTS (
                             SELECT FROM pg_trigger AS t
                              WHERE t.tgfoid = 'audit.capture_truncate()'::regprocedure
                                AND k.id = audit._tracked_table_id(t.tgrelid)));
BEGIN
    IF v_tables IS NOT NULL
            AND COALESCE(current_setting('audit.drop_trail', true), '') <> 'yes' THEN
        RAISE EXCEPTION 'changes of these tables are still captured: %', v_tables
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'Detach them first (SELECT audit.detach(...)), or stop capture for good: '
                         'alembic -x drop_trail=yes downgrade ...';
    END IF;
END;
$guard$;
-- CASCADE takes the event triggers, and the triggers of tables that are still attached
DROP FUNCTION
    audit.capture_row, audit.capture_insert, audit.capture_update, audit.capture_delete,
    audit.capture_truncate, audit.capture_ddl CASCADE;
UPDATE audit.setting SET captures_ddl = false;
DROP FUNCTION
    audit.attach, audit.detach, audit.set_context, audit.enable_ddl_capture,
    audit.record_baseline, audit._write_baseline, audit._missing_triggers,
    audit._stray_triggers,
    audit._trigger_definitions, audit._check_key, audit._check_mode, audit._check_attachable,
    audit._row_to_jsonb, audit._is_unique_key, audit._key_columns, audit._register_table,
    audit._unregister_table, audit._lock_tracked_tables, audit._row_key, audit._wide_row_key,
    audit._foreign_casts, audit._check_policy, audit._policy_argument, audit._recorded_key,
    audit._refuse_anonymous, audit._has_foreign_types, audit._policy, audit._apply_policy,
    audit._mask, audit._write_truncated_rows, audit._check_readable;
"""


def upgrade() -> None:
    replace(revision, *SQL)
    run_verbatim("SELECT audit.apply_privileges(); SELECT audit._remember_objects();")


def downgrade() -> None:
    run_verbatim(DROP + "SELECT audit._remember_objects();")
