-- Write down what the functions and views of the schema audit are like, for audit.check() to find
-- those that were altered since. Called at the end of each upgrade and downgrade.
CREATE OR REPLACE FUNCTION audit._remember_objects()
    RETURNS void
    LANGUAGE sql
    VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $_remember_objects$
    DELETE FROM audit.installed_object;
    INSERT INTO audit.installed_object (identity, checksum, server_major)
        SELECT o.identity, o.checksum, current_setting('server_version_num')::integer / 10000
          FROM audit._objects() AS o
$_remember_objects$;

COMMENT ON FUNCTION audit._remember_objects() IS
    'Internal: write down checksums of functions and views, for audit.check().';
REVOKE ALL ON FUNCTION audit._remember_objects() FROM PUBLIC;
