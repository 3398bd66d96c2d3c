-- The partitions of the trail with their bounds in time, their sizes, and whether they are written
-- to. What maintenance sets last tells that it has closed one: see audit._closing_steps().
CREATE OR REPLACE VIEW audit.partition AS
    SELECT child.relname::text AS partition,
           bounds.from_time,
           bounds.to_time,
           bounds.from_time IS NULL AS is_default,
           GREATEST(child.reltuples, 0)::bigint AS estimated_rows,
           pg_catalog.pg_total_relation_size(child.oid) AS total_bytes,
           CASE WHEN bounds.to_time IS NULL
                     OR bounds.to_time > (SELECT settled_to FROM audit.counting) THEN 'open'
                WHEN child.reloptions @> '{autovacuum_vacuum_insert_threshold=0}'
                     AND child.oid NOT IN (SELECT g.partition FROM audit._index_gaps() AS g)
                THEN 'closed'
                ELSE 'closing' END AS state
      FROM pg_catalog.pg_inherits AS i
      JOIN pg_catalog.pg_class AS child ON child.oid = i.inhrelid
     CROSS JOIN LATERAL audit._partition_bounds(child.oid) AS bounds
     WHERE i.inhparent = 'audit.event'::regclass;

COMMENT ON VIEW audit.partition IS
    'Partitions of audit.event. from_time is included, to_time is not; both '
    'are NULL for the DEFAULT partition. estimated_rows is as of the last ANALYZE; total_bytes '
    'counts heap, TOAST and indexes. state: open while transactions may write to it, then closing '
    'until maintenance has brought its indexes to the closed profile, then closed.';
COMMENT ON COLUMN audit.partition.partition IS 'Name of the partition, in schema audit.';
COMMENT ON COLUMN audit.partition.from_time IS 'Start of its period, included.';
COMMENT ON COLUMN audit.partition.to_time IS 'End of its period, not included.';
COMMENT ON COLUMN audit.partition.is_default IS
    'Whether it takes the rows for which no other partition exists; it should be empty.';
COMMENT ON COLUMN audit.partition.estimated_rows IS 'Rows as of the last ANALYZE or VACUUM.';
COMMENT ON COLUMN audit.partition.total_bytes IS 'Size of heap, TOAST and indexes, in bytes.';
COMMENT ON COLUMN audit.partition.state IS 'open, closing or closed.';
