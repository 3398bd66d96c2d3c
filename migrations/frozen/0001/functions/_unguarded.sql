-- The relations of the trail, audit.event and its partitions, on which the trigger append_only is
-- missing or does not always fire, and partitions without row security: it has no policy there, so
-- that nobody but the owner reads a partition by its own name, whatever is granted on it. The
-- newest come first: nobody writes to them yet.
CREATE OR REPLACE FUNCTION audit._unguarded()
    RETURNS SETOF regclass
    LANGUAGE sql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $_unguarded$
    SELECT r.relid
      FROM pg_partition_tree('audit.event') AS r
      JOIN pg_class AS c ON c.oid = r.relid
     WHERE NOT c.relrowsecurity AND r.isleaf
        OR NOT EXISTS (SELECT FROM pg_trigger AS t
                        WHERE t.tgrelid = r.relid AND t.tgname = 'append_only'
                          AND t.tgfoid = to_regproc('audit.append_only') AND t.tgenabled = 'A'
                          AND t.tgtype = 58)  -- BEFORE UPDATE, DELETE or TRUNCATE, by statement
     ORDER BY r.relid DESC
$_unguarded$;

COMMENT ON FUNCTION audit._unguarded() IS
    'Internal: relations of the trail without append-only guard, partitions without row security.';
REVOKE ALL ON FUNCTION audit._unguarded() FROM PUBLIC;
