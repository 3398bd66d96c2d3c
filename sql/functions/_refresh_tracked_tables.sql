-- Bring audit.tracked_table up to date with tables that were renamed, moved or dropped, and record
-- each of these in the trail: as seen now, by whoever looks.
-- Called by audit.attach() and audit.run_maintenance(), with the owner's rights. Nested loops are
-- off because nothing tells the planner that thousands of triggers have the same name; jit, because
-- the cost of the loops that there must be would then have it compiled.
CREATE OR REPLACE FUNCTION audit._refresh_tracked_tables()
    RETURNS void
    LANGUAGE plpgsql
    VOLATILE
    SET search_path = pg_catalog, pg_temp
    SET enable_nestloop = off
    SET jit = off
AS $_refresh_tracked_tables$
DECLARE
    v_change record;
BEGIN
    FOR v_change IN
        SELECT k.id, k.schema_name AS old_schema, k.table_name AS old_name,
               n.nspname AS new_schema, c.relname AS new_name
          FROM pg_trigger AS t
          JOIN pg_class AS c ON c.oid = t.tgrelid
          JOIN pg_namespace AS n ON n.oid = c.relnamespace
          JOIN audit.tracked_table AS k ON k.id = audit._argument_id(t.tgargs)
         WHERE t.tgname = '_audit_truncate' AND t.tgfoid = to_regproc('audit.capture_truncate')
           AND (k.schema_name, k.table_name) IS DISTINCT FROM (n.nspname::text, c.relname::text)
    LOOP
        UPDATE audit.tracked_table
           SET schema_name = v_change.new_schema, table_name = v_change.new_name
         WHERE id = v_change.id;
        PERFORM audit._record_act(
            v_change.id, 'rename',
            jsonb_build_object(
                'schema_name', v_change.old_schema, 'table_name', v_change.old_name),
            jsonb_build_object(
                'schema_name', v_change.new_schema, 'table_name', v_change.new_name));
    END LOOP;

    FOR v_change IN
        SELECT k.id, to_jsonb(k.*) AS was
          FROM audit.tracked_table AS k
         WHERE k.detached_at IS NULL
           AND NOT EXISTS (SELECT FROM pg_class AS c
                             JOIN pg_namespace AS n ON n.oid = c.relnamespace
                            WHERE n.nspname = k.schema_name AND c.relname = k.table_name)
    LOOP
        UPDATE audit.tracked_table SET detached_at = now() WHERE id = v_change.id;
        PERFORM audit._record_act(v_change.id, 'drop', v_change.was, NULL);
    END LOOP;
END;
$_refresh_tracked_tables$;

COMMENT ON FUNCTION audit._refresh_tracked_tables() IS
    'Internal: follow renamed and dropped tables in audit.tracked_table.';
REVOKE ALL ON FUNCTION audit._refresh_tracked_tables() FROM PUBLIC;
