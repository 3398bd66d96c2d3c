-- The indexes that profiles add to those of audit.event: its primary key and event_row_idx. They
-- cannot belong to audit.event, for then no partition could be without them. Such an index is known
-- by its name: that of the partition, then suffix. The body is parsed once, here, and has no SET
-- clause, so that the planner can inline it.
CREATE OR REPLACE FUNCTION audit._profile_indexes()
    RETURNS TABLE (suffix text, definition text, profiles text[])
    LANGUAGE sql
    STABLE
BEGIN ATOMIC
    SELECT i.suffix, i.definition, i.profiles
      FROM (VALUES
        ('table_idx', '(tracked_table_id, occurred_at) INCLUDE (action)',
         '{standard,search}'::text[]),
        ('actor_idx', '(actor, started_at)', '{standard,search}'),
        ('new_values_idx', 'USING gin (new_values jsonb_path_ops)', '{search}'),
        ('metadata_idx', 'USING gin (metadata jsonb_path_ops)', '{search}'))
           AS i (suffix, definition, profiles);
END;

COMMENT ON FUNCTION audit._profile_indexes() IS
    'Internal: the indexes that profiles add to the partitions.';
REVOKE ALL ON FUNCTION audit._profile_indexes() FROM PUBLIC;
