-- Row security: readers of all see every event, others those of the tables that they were granted.
-- Makes what is missing or was altered, and leaves alone what is as it was, for it takes a lock
-- that writers wait for.
CREATE OR REPLACE FUNCTION audit._secure_rows()
    RETURNS void
    LANGUAGE plpgsql
    VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $_secure_rows$
DECLARE
    v_setting audit.setting;
    v_table text;
    v_policy name;
BEGIN
    SELECT * INTO STRICT v_setting FROM audit.setting;
    FOR v_table IN
        SELECT t.name FROM unnest('{audit.event,audit.event_count}'::text[]) AS t (name)
         WHERE (SELECT count(*) FROM audit._objects() AS o
                  JOIN audit.installed_object AS i
                    ON i.identity = o.identity AND i.checksum = o.checksum
                 WHERE o.identity IN ('policy reader_of_all on ' || t.name,
                                      'policy reader_of_tables on ' || t.name)) < 2
    LOOP
        FOR v_policy IN
            SELECT polname FROM pg_policy WHERE polrelid = v_table::regclass
               AND polname IN ('reader_of_all', 'reader_of_tables')
        LOOP
            EXECUTE format('DROP POLICY %I ON %s', v_policy, v_table);
        END LOOP;
        EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY',
                       v_table);
        EXECUTE format('CREATE POLICY reader_of_all ON %s FOR SELECT '
                       'TO %I, %I, pg_read_all_data USING (true)',
                       v_table, v_setting.reader_role, v_setting.admin_role);
        EXECUTE format('CREATE POLICY reader_of_tables ON %s FOR SELECT USING ('
                       'tracked_table_id = ANY (ARRAY('
                       'SELECT r.tracked_table_id FROM audit.table_reader AS r '
                       'JOIN pg_roles AS p ON p.rolname = r.role '
                       'WHERE pg_has_role(p.oid, ''USAGE''))))', v_table);
    END LOOP;
END;
$_secure_rows$;

COMMENT ON FUNCTION audit._secure_rows() IS
    'Internal: make the policies of row security that are missing or altered.';
REVOKE ALL ON FUNCTION audit._secure_rows() FROM PUBLIC;
