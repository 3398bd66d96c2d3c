-- A hash that is another one where audit.event.row_hash would be.
CREATE OR REPLACE FUNCTION audit._hash_sample()
    RETURNS bigint
    LANGUAGE sql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $_hash_sample$
    SELECT jsonb_hash_extended(to_jsonb(getdatabaseencoding()::text), 0)
$_hash_sample$;

COMMENT ON FUNCTION audit._hash_sample() IS
    'Internal: a hash that depends on encoding and byte order as audit.event.row_hash does.';
REVOKE ALL ON FUNCTION audit._hash_sample() FROM PUBLIC;
