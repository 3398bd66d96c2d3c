-- Stop to capture the changes of a table; what was recorded stays.
-- Runs with the caller's rights: only the owner of a table may drop its triggers.
CREATE OR REPLACE FUNCTION audit.detach(p_table regclass)
    RETURNS boolean
    LANGUAGE plpgsql
    VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $detach$
DECLARE
    v_id integer;
    v_trigger name;
    v_found boolean := false;
BEGIN
    IF p_table IS NULL THEN
        RAISE EXCEPTION 'table must not be NULL'
            USING ERRCODE = 'null_value_not_allowed',
                  HINT = 'Name a table, such as audit.detach(''public.orders'').';
    END IF;
    IF (SELECT relispartition FROM pg_class WHERE oid = p_table) THEN
        RETURN false;  -- its triggers are those of its parent
    END IF;
    PERFORM audit._lock_tracked_tables();
    v_id := audit._tracked_table_id(p_table);
    FOR v_trigger IN
        SELECT t.tgname FROM pg_trigger AS t
         WHERE t.tgrelid = p_table AND t.tgparentid = 0
           AND t.tgfoid IN (SELECT p.oid FROM pg_proc AS p
                             WHERE p.pronamespace = 'audit'::regnamespace
                               AND p.proname LIKE 'capture\_%')
    LOOP
        EXECUTE format('DROP TRIGGER %I ON %s', v_trigger, p_table);
        v_found := true;
    END LOOP;
    PERFORM audit._unregister_table(v_id);
    RETURN v_found;
END;
$detach$;

COMMENT ON FUNCTION audit.detach(regclass) IS
    'Stop to record the changes of a table; its history stays. Returns false when the table was '
    'not attached. Only the owner of the table may do this.';
REVOKE ALL ON FUNCTION audit.detach(regclass) FROM PUBLIC;
