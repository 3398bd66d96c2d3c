-- One row for each changed column, old and new side by side.
CREATE OR REPLACE VIEW audit.column_change WITH (security_invoker = true) AS
    SELECT c.transaction_id,
           c.event_id,
           c.occurred_at,
           c.actor,
           c.actor_label,
           c.action,
           c.table_schema,
           c.table_name,
           c.row_key,
           v.column_name,
           c.old_values -> v.column_name AS old_value,
           c.new_values -> v.column_name AS new_value,
           c.metadata,
           c.started_at
      FROM audit.change AS c
     CROSS JOIN LATERAL pg_catalog.jsonb_object_keys(
               COALESCE(c.old_values, '{}') || COALESCE(c.new_values, '{}')) AS v (column_name);

COMMENT ON VIEW audit.column_change IS
    'Each recorded event, one row for each of its columns: old_value and new_value as JSON, NULL '
    'where the column had none (JSON null is an SQL NULL of the table). Bound started_at in every '
    'query.';
COMMENT ON COLUMN audit.column_change.transaction_id IS
    'Id of the transaction, for audit.transaction_changes(); sorts by time.';
COMMENT ON COLUMN audit.column_change.event_id IS
    'Id of the event; orders the events of a transaction.';
COMMENT ON COLUMN audit.column_change.occurred_at IS 'Clock when the change was recorded.';
COMMENT ON COLUMN audit.column_change.actor IS
    'Who is accountable, as the application said; NULL when it said nothing.';
COMMENT ON COLUMN audit.column_change.actor_label IS 'Readable name of the actor at that time.';
COMMENT ON COLUMN audit.column_change.action IS 'As audit.change.action.';
COMMENT ON COLUMN audit.column_change.table_schema IS 'Schema of the table, as last known.';
COMMENT ON COLUMN audit.column_change.table_name IS 'Name of the table, as last known.';
COMMENT ON COLUMN audit.column_change.row_key IS
    'Key columns of the row as a JSON object; the whole row for a table without a key.';
COMMENT ON COLUMN audit.column_change.column_name IS 'Name of the column, as of the change.';
COMMENT ON COLUMN audit.column_change.old_value IS 'Value before; NULL for insert.';
COMMENT ON COLUMN audit.column_change.new_value IS 'Value after; NULL for delete.';
COMMENT ON COLUMN audit.column_change.metadata IS
    'Why, as the application said: reason, request id, ticket ...';
COMMENT ON COLUMN audit.column_change.started_at IS
    'Start of the transaction; partitions are by this time.';
