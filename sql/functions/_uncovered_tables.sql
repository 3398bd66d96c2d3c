-- Tables that must be attached, by the patterns of audit.setting.must_attach, and are not: those
-- that one pattern matches and no pattern with an exclamation mark. Partitions are captured with
-- their parents.
CREATE OR REPLACE FUNCTION audit._uncovered_tables()
    RETURNS SETOF regclass
    LANGUAGE sql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $_uncovered_tables$
    SELECT c.oid::regclass
      FROM audit.setting AS s
     CROSS JOIN pg_class AS c
      JOIN pg_namespace AS n ON n.oid = c.relnamespace
     WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence <> 't'
       AND n.nspname NOT IN ('audit', 'pg_catalog', 'information_schema')
       AND EXISTS (SELECT FROM unnest(s.must_attach) AS pattern
                    WHERE n.nspname || '.' || c.relname LIKE pattern)
       AND NOT EXISTS (SELECT FROM unnest(s.must_attach) AS pattern
                        WHERE pattern LIKE '!%'
                          AND n.nspname || '.' || c.relname LIKE substr(pattern, 2))
       AND NOT EXISTS (SELECT FROM pg_trigger AS t
                        WHERE t.tgrelid = c.oid AND t.tgname = '_audit_truncate'
                          AND t.tgfoid = to_regproc('audit.capture_truncate'))
$_uncovered_tables$;

COMMENT ON FUNCTION audit._uncovered_tables() IS
    'Internal: tables that must be attached and are not.';
REVOKE ALL ON FUNCTION audit._uncovered_tables() FROM PUBLIC;
