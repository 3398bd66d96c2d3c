-- Row security: readers of all see every event, others those of the tables that they were granted.
-- Makes what is missing and leaves alone what is there, for it takes a lock that writers wait for.
CREATE OR REPLACE FUNCTION audit._secure_rows()
    RETURNS void
    LANGUAGE plpgsql
    VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $_secure_rows$
DECLARE
    v_setting audit.setting;
    v_table text;
BEGIN
    SELECT * INTO STRICT v_setting FROM audit.setting;
    FOR v_table IN
        SELECT c.oid::regclass::text FROM pg_class AS c
         WHERE c.oid IN ('audit.event'::regclass, 'audit.event_count'::regclass)
           AND (NOT c.relrowsecurity
                OR (SELECT count(*) FROM pg_policy AS p WHERE p.polrelid = c.oid
                       AND p.polname IN ('reader_of_all', 'reader_of_tables')) < 2)
    LOOP
        EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', v_table);
        EXECUTE format('DROP POLICY IF EXISTS reader_of_all ON %s', v_table);
        EXECUTE format('CREATE POLICY reader_of_all ON %s FOR SELECT TO %I, %I USING (true)',
                       v_table, v_setting.reader_role, v_setting.admin_role);
        EXECUTE format('DROP POLICY IF EXISTS reader_of_tables ON %s', v_table);
        EXECUTE format('CREATE POLICY reader_of_tables ON %s FOR SELECT USING ('
                       'tracked_table_id = ANY (ARRAY(SELECT r.tracked_table_id '
                       'FROM audit.table_reader AS r WHERE pg_has_role(r.role, ''USAGE''))))',
                       v_table);
    END LOOP;
END;
$_secure_rows$;

COMMENT ON FUNCTION audit._secure_rows() IS
    'Internal: make the policies of row security that are missing.';
REVOKE ALL ON FUNCTION audit._secure_rows() FROM PUBLIC;
