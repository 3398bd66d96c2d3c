-- An event as the view audit.change shows it. The context is looked up from a time on and up to
-- another only: whoever calls knows both, and the planner then leaves out the other partitions.
-- The body is parsed once, here, and has no SET clause, so that the planner can inline it;
-- OFFSET 0 keeps it from reading all contexts of these partitions where it expects many events.
CREATE OR REPLACE FUNCTION audit._as_change(
    p_event audit.event,
    p_from timestamptz,
    p_to timestamptz)
    RETURNS SETOF audit.change
    LANGUAGE sql
    STABLE
    PARALLEL SAFE
BEGIN ATOMIC
    SELECT audit.transaction_id((p_event).started_at, (p_event).xid),
           (p_event).id,
           (p_event).occurred_at,
           (p_event).actor,
           COALESCE((p_event).actor_type, c.actor_type),
           COALESCE((p_event).actor_label, c.actor_label),
           (p_event).action,
           k.schema_name,
           k.table_name,
           (p_event).row_key,
           (p_event).old_values,
           (p_event).new_values,
           COALESCE((p_event).metadata, c.metadata),
           COALESCE((p_event).database_user, c.database_user),
           COALESCE((p_event).database_role, c.database_role),
           COALESCE((p_event).client_addr, c.client_addr),
           COALESCE((p_event).application_name, c.application_name),
           (p_event).started_at,
           (p_event).xid,
           (p_event).tracked_table_id,
           audit._cursor((p_event).started_at, (p_event).occurred_at, (p_event).id)
      FROM (VALUES (true)) AS event
      LEFT JOIN LATERAL (
            SELECT * FROM audit.event AS c
             WHERE c.started_at = (p_event).started_at AND c.id = (p_event).context_id
               AND c.started_at >= p_from AND c.started_at < p_to OFFSET 0) AS c ON true
      LEFT JOIN audit.tracked_table AS k ON k.id = (p_event).tracked_table_id;
END;

COMMENT ON FUNCTION audit._as_change(audit.event, timestamptz, timestamptz) IS
    'Internal: an event as a row of audit.change; its transaction started from p_from on, before '
    'p_to.';
REVOKE ALL ON FUNCTION audit._as_change(audit.event, timestamptz, timestamptz) FROM PUBLIC;
