-- Functions and views of the schema audit with a checksum of what they do and may. Bodies that were
-- parsed when they were made, and views, are compared as PostgreSQL prints them, which another
-- major version may do otherwise.
CREATE OR REPLACE FUNCTION audit._objects()
    RETURNS TABLE (identity text, checksum text, is_printed boolean)
    LANGUAGE sql
    STABLE
    SET search_path = pg_catalog, pg_temp
    SET quote_all_identifiers = off
AS $_objects$
    SELECT p.oid::regprocedure::text,
           encode(sha256(convert_to(concat_ws('|', l.lanname, p.prosrc,
               pg_get_function_sqlbody(p.oid), p.prosecdef, p.provolatile, p.proconfig), 'UTF8')),
               'hex'),
           p.prosqlbody IS NOT NULL
      FROM pg_proc AS p
      JOIN pg_language AS l ON l.oid = p.prolang
     WHERE p.pronamespace = 'audit'::regnamespace
    UNION ALL
    SELECT c.oid::regclass::text,
           encode(sha256(convert_to(concat_ws('|', pg_get_viewdef(c.oid), c.reloptions), 'UTF8')),
                  'hex'),
           true
      FROM pg_class AS c
     WHERE c.relnamespace = 'audit'::regnamespace AND c.relkind = 'v'
$_objects$;

COMMENT ON FUNCTION audit._objects() IS
    'Internal: functions and views of the schema audit with checksums.';
REVOKE ALL ON FUNCTION audit._objects() FROM PUBLIC;
