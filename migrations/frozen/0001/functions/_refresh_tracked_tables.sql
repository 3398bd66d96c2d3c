-- Bring audit.tracked_table up to date with tables that were renamed, moved or dropped.
-- Called by audit.attach() and audit.run_maintenance(), with the owner's rights.
CREATE OR REPLACE FUNCTION audit._refresh_tracked_tables()
    RETURNS void
    LANGUAGE sql
    VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $_refresh_tracked_tables$
    UPDATE audit.tracked_table AS k
       SET schema_name = n.nspname, table_name = c.relname
      FROM pg_trigger AS t
      JOIN pg_class AS c ON c.oid = t.tgrelid
      JOIN pg_namespace AS n ON n.oid = c.relnamespace
     WHERE t.tgname = '_audit_truncate' AND t.tgfoid = to_regproc('audit.capture_truncate')
       AND k.id = audit._argument_id(t.tgargs)
       AND (k.schema_name, k.table_name) IS DISTINCT FROM (n.nspname::text, c.relname::text);

    UPDATE audit.tracked_table AS k
       SET detached_at = now()
     WHERE k.detached_at IS NULL
       AND NOT EXISTS (SELECT FROM pg_class AS c
                         JOIN pg_namespace AS n ON n.oid = c.relnamespace
                        WHERE n.nspname = k.schema_name AND c.relname = k.table_name)
$_refresh_tracked_tables$;

COMMENT ON FUNCTION audit._refresh_tracked_tables() IS
    'Internal: follow renamed and dropped tables in audit.tracked_table.';
REVOKE ALL ON FUNCTION audit._refresh_tracked_tables() FROM PUBLIC;
