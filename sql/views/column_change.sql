-- One row for each changed column, old and new side by side.
CREATE OR REPLACE VIEW audit.column_change AS
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
