-- What the partitions lack of their index profile (is_missing) or have beyond it, each with the
-- statement that mends it. All have the indexes of audit.event: its primary key and event_row_idx.
-- What profiles add to these is listed here; it cannot belong to audit.event, for then no partition
-- could be without it. Such an index is known by its name: that of the partition, then suffix.
-- The hot profile is that of partitions whose period has not ended, the closed one that of
-- partitions to which no transaction can write any more; in between nothing is due. An index that
-- an interrupted CREATE INDEX CONCURRENTLY left behind is missing, too.
CREATE OR REPLACE FUNCTION audit._index_gaps()
    RETURNS TABLE (partition regclass, is_closed boolean, is_missing boolean, statement text)
    LANGUAGE sql
    STABLE
    SET search_path = pg_catalog, pg_temp
    SET jit = off
AS $_index_gaps$
    SELECT w.oid, w.is_closed, w.is_wanted,
           CASE WHEN NOT w.is_wanted THEN format('DROP INDEX audit.%I', w.index_name)
                WHEN x.indisvalid IS NULL THEN
                    format('CREATE INDEX %I ON %s %s', w.index_name, w.oid::regclass, w.definition)
                ELSE format('REINDEX INDEX audit.%I', w.index_name) END
      FROM (SELECT c.oid, b.is_closed, p.definition,
                   format('%s_%s', c.relname, p.suffix) AS index_name,
                   CASE WHEN b.is_closed THEN s.closed_index_profile
                        ELSE s.hot_index_profile END = ANY (p.profiles) AS is_wanted
              FROM audit.setting AS s
             CROSS JOIN (VALUES
                   ('table_idx', '(tracked_table_id, occurred_at) INCLUDE (action)',
                    '{standard,search}'::text[]),
                   ('actor_idx', '(actor, started_at)', '{standard,search}'),
                   ('new_values_idx', 'USING gin (new_values jsonb_path_ops)', '{search}'),
                   ('metadata_idx', 'USING gin (metadata jsonb_path_ops)', '{search}'))
                   AS p (suffix, definition, profiles)
             CROSS JOIN pg_inherits AS i
              JOIN pg_class AS c ON c.oid = i.inhrelid
             CROSS JOIN LATERAL (
                   SELECT COALESCE(to_time <= n.settled_to, false),
                          COALESCE(to_time, 'infinity') > now()
                     FROM audit._partition_bounds(c.oid), audit.counting AS n)
                   AS b (is_closed, is_open)
             WHERE i.inhparent = 'audit.event'::regclass AND (b.is_closed OR b.is_open)) AS w
      LEFT JOIN (pg_index AS x JOIN pg_class AS xc ON xc.oid = x.indexrelid)
             ON x.indrelid = w.oid AND xc.relname = w.index_name
     WHERE w.is_wanted <> COALESCE(x.indisvalid, false)
$_index_gaps$;

COMMENT ON FUNCTION audit._index_gaps() IS
    'Internal: the indexes that partitions lack of their profile or have beyond it.';
REVOKE ALL ON FUNCTION audit._index_gaps() FROM PUBLIC;
