-- The id under which the changes of a table are recorded; NULL when it never was attached.
-- An attached table is known by the argument of its trigger, so renames do not matter; a detached
-- one by its last known name, unless another table carries that id by now.
CREATE OR REPLACE FUNCTION audit._tracked_table_id(p_table regclass)
    RETURNS integer
    LANGUAGE sql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $_tracked_table_id$
    SELECT COALESCE(
        (SELECT audit._argument_id(t.tgargs) FROM pg_trigger AS t
          WHERE t.tgrelid = p_table AND t.tgname = '_audit_truncate'
            AND t.tgfoid = to_regproc('audit.capture_truncate')),
        (SELECT max(k.id)
           FROM (SELECT k.id
                   FROM audit.tracked_table AS k
                   JOIN pg_class AS c ON c.oid = p_table AND c.relname = k.table_name
                   JOIN pg_namespace AS n ON n.oid = c.relnamespace AND n.nspname = k.schema_name
                 OFFSET 0) AS k  -- those of this name first, or with old statistics it is all
          WHERE NOT EXISTS (SELECT FROM pg_trigger AS t
                             WHERE t.tgname = '_audit_truncate'
                               AND t.tgfoid = to_regproc('audit.capture_truncate')
                               AND audit._argument_id(t.tgargs) = k.id)))
$_tracked_table_id$;

COMMENT ON FUNCTION audit._tracked_table_id(regclass) IS
    'Internal: id of a table in audit.tracked_table, attached or detached; NULL when unknown.';
REVOKE ALL ON FUNCTION audit._tracked_table_id(regclass) FROM PUBLIC;
