-- What a DBA must run before our owner can use pg_partman; NULL when nothing is missing.
CREATE OR REPLACE FUNCTION audit._partman_remedy()
    RETURNS text
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $_partman_remedy$
DECLARE
    v_owner name := (SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = 'audit');
    v_schema name := audit._partman_schema();
    v_create text := '';
BEGIN
    IF v_schema IS NULL THEN
        IF NOT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'pg_partman') THEN
            RETURN 'install the package pg_partman on the server';
        END IF;
        v_create := 'CREATE SCHEMA partman; CREATE EXTENSION pg_partman SCHEMA partman; ';
        v_schema := 'partman';
    ELSIF has_schema_privilege(v_owner, v_schema, 'USAGE')
      AND has_table_privilege(v_owner, format('%I.part_config', v_schema), 'SELECT')
      AND has_table_privilege(v_owner, format('%I.part_config', v_schema), 'INSERT')
      AND has_table_privilege(v_owner, format('%I.part_config', v_schema), 'UPDATE')
      AND has_table_privilege(v_owner, format('%I.part_config', v_schema), 'DELETE')
      AND has_table_privilege(v_owner, format('%I.part_config_sub', v_schema), 'SELECT') THEN
        RETURN NULL;
    END IF;
    RETURN v_create || format('GRANT USAGE ON SCHEMA %1$I TO %2$I; '
        'GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA %1$I TO %2$I;',
        v_schema, v_owner);
END;
$_partman_remedy$;

COMMENT ON FUNCTION audit._partman_remedy() IS
    'Internal: statements for a DBA that let the owner use pg_partman; NULL when it can.';
REVOKE ALL ON FUNCTION audit._partman_remedy() FROM PUBLIC;
