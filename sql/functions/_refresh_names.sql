-- Bring the names in audit.tracked_table up to date with tables that were renamed or moved.
-- Called by audit.attach() and audit.run_maintenance(), with the owner's rights.
CREATE OR REPLACE FUNCTION audit._refresh_names()
    RETURNS void
    LANGUAGE sql
    VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $_refresh_names$
    UPDATE audit.tracked_table AS k
       SET schema_name = n.nspname, table_name = c.relname
      FROM pg_trigger AS t
      JOIN pg_class AS c ON c.oid = t.tgrelid
      JOIN pg_namespace AS n ON n.oid = c.relnamespace
     WHERE t.tgname = '_audit_truncate'
       AND t.tgfoid = to_regproc('audit.capture_truncate')
       AND k.id = split_part(encode(t.tgargs, 'escape'), '\000', 1)::integer
       AND (k.schema_name, k.table_name) IS DISTINCT FROM (n.nspname::text, c.relname::text)
$_refresh_names$;

COMMENT ON FUNCTION audit._refresh_names() IS
    'Internal: follow renamed tables in audit.tracked_table.';
REVOKE ALL ON FUNCTION audit._refresh_names() FROM PUBLIC;
