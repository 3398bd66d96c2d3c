-- The statements that close partitions, in order. The storage parameters come last: with them a
-- partition counts as closed (audit.partition.state). VACUUM cannot run in a function, so they have
-- autovacuum do it: once more, if anything was inserted since it last ran, however little, and it
-- then freezes every row, so that none has to come back to them.
CREATE OR REPLACE FUNCTION audit._closing_steps()
    RETURNS TABLE (partition regclass, statement text)
    LANGUAGE sql
    STABLE
    SET search_path = pg_catalog, pg_temp
    SET jit = off
AS $_closing_steps$
    SELECT c.oid, s.statement
      FROM audit.partition AS p
      JOIN pg_class AS c ON c.relname = p.partition AND c.relnamespace = 'audit'::regnamespace
      JOIN (SELECT g.partition, 1, g.statement FROM audit._index_gaps() AS g WHERE g.is_missing
            UNION ALL
            SELECT i.inhrelid, 2,
                   format('ANALYZE %1$s; ALTER TABLE %1$s SET (autovacuum_freeze_min_age = 0, '
                          'autovacuum_freeze_table_age = 0, '
                          'autovacuum_vacuum_insert_scale_factor = 0, '
                          'autovacuum_vacuum_insert_threshold = 0)', i.inhrelid::regclass)
              FROM pg_inherits AS i WHERE i.inhparent = 'audit.event'::regclass)
           AS s (partition, position, statement) ON s.partition = c.oid
     WHERE p.state = 'closing'
     ORDER BY p.from_time DESC, s.position
$_closing_steps$;

COMMENT ON FUNCTION audit._closing_steps() IS
    'Internal: the statements that close the partitions which nobody writes to any more.';
REVOKE ALL ON FUNCTION audit._closing_steps() FROM PUBLIC;
