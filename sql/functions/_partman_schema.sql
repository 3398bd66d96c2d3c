-- The schema of pg_partman in this database; NULL where it is not installed.
CREATE OR REPLACE FUNCTION audit._partman_schema()
    RETURNS name
    LANGUAGE sql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $_partman_schema$
    SELECT n.nspname FROM pg_extension AS e JOIN pg_namespace AS n ON n.oid = e.extnamespace
     WHERE e.extname = 'pg_partman'
$_partman_schema$;

COMMENT ON FUNCTION audit._partman_schema() IS
    'Internal: schema of the extension pg_partman; NULL where it is not installed.';
REVOKE ALL ON FUNCTION audit._partman_schema() FROM PUBLIC;
