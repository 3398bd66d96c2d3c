-- Triggers of ours on a table under other names than attach() gives them: they would record
-- everything twice.
CREATE OR REPLACE FUNCTION audit._stray_triggers(p_table regclass)
    RETURNS SETOF name
    LANGUAGE sql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $_stray_triggers$
    SELECT t.tgname FROM pg_trigger AS t
     WHERE t.tgrelid = p_table AND t.tgparentid = 0
       AND t.tgfoid IN (SELECT p.oid FROM pg_proc AS p
                         WHERE p.pronamespace = 'audit'::regnamespace
                           AND p.proname LIKE 'capture\_%')
       AND t.tgname NOT IN ('_audit_insert', '_audit_update', '_audit_delete', '_audit_truncate')
$_stray_triggers$;

COMMENT ON FUNCTION audit._stray_triggers(regclass) IS
    'Internal: triggers of ours on a table that attach() does not make.';
REVOKE ALL ON FUNCTION audit._stray_triggers(regclass) FROM PUBLIC;
