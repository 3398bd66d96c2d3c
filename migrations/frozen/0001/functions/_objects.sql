-- Functions, views and policies of the schema audit with a checksum of what they do and may. Bodies
-- that were parsed when they were made, views and policies are compared as PostgreSQL prints them,
-- which another major version may do otherwise.
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
    UNION ALL
    SELECT format('policy %I on %s', p.polname, c.oid::regclass),
           encode(sha256(convert_to(concat_ws('|', c.relrowsecurity,
               c.relforcerowsecurity, p.polcmd, p.polpermissive,
               ARRAY(SELECT r::regrole::text FROM unnest(p.polroles) AS r ORDER BY 1),
               pg_get_expr(p.polqual, p.polrelid)), 'UTF8')), 'hex'),
           true
      FROM pg_policy AS p
      JOIN pg_class AS c ON c.oid = p.polrelid
     WHERE c.relnamespace = 'audit'::regnamespace
$_objects$;

COMMENT ON FUNCTION audit._objects() IS
    'Internal: functions, views and policies of the schema audit with checksums.';
REVOKE ALL ON FUNCTION audit._objects() FROM PUBLIC;
