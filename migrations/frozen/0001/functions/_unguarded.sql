-- The relations of the trail, audit.event and its partitions, on which the trigger append_only is
-- missing or does not always fire. The newest come first: nobody writes to them yet.
CREATE OR REPLACE FUNCTION audit._unguarded()
    RETURNS SETOF regclass
    LANGUAGE sql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $_unguarded$
    SELECT r.relid
      FROM pg_partition_tree('audit.event') AS r
     WHERE NOT EXISTS (SELECT FROM pg_trigger AS t
                        WHERE t.tgrelid = r.relid AND t.tgname = 'append_only'
                          AND t.tgfoid = to_regproc('audit.append_only') AND t.tgenabled = 'A'
                          AND t.tgtype = 58)  -- BEFORE UPDATE, DELETE or TRUNCATE, by statement
     ORDER BY r.relid DESC
$_unguarded$;

COMMENT ON FUNCTION audit._unguarded() IS
    'Internal: relations of the trail whose append-only guard is missing or disabled.';
REVOKE ALL ON FUNCTION audit._unguarded() FROM PUBLIC;
