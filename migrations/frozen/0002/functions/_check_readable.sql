-- Refuse to record the rows of a TRUNCATE where the owner of the trail could not read them.
CREATE OR REPLACE FUNCTION audit._check_readable(p_table regclass)
    RETURNS void
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $_check_readable$
DECLARE
    v_owner name := (SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = 'audit');
    v_schema name := (SELECT n.nspname FROM pg_class AS c
                        JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = p_table);
BEGIN
    IF NOT has_schema_privilege(v_owner, v_schema, 'USAGE')
            OR NOT has_table_privilege(v_owner, p_table, 'SELECT') THEN
        RAISE EXCEPTION 'role "%" cannot read %, so a TRUNCATE could not record its rows',
                v_owner, p_table
            USING ERRCODE = 'insufficient_privilege',
                  HINT = format('GRANT USAGE ON SCHEMA %I TO %I; GRANT SELECT ON %s TO %I;',
                                v_schema, v_owner, p_table, v_owner);
    END IF;
END;
$_check_readable$;

COMMENT ON FUNCTION audit._check_readable(regclass) IS
    'Internal: raise an error when the owner of the trail cannot read a table.';
REVOKE ALL ON FUNCTION audit._check_readable(regclass) FROM PUBLIC;
