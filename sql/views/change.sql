-- Each event as people read it: names instead of ids, with the transaction's actor and context.
CREATE OR REPLACE VIEW audit.change AS
    SELECT audit.transaction_id(e.started_at, e.xid) AS transaction_id,
           e.id AS event_id,
           e.occurred_at,
           t.actor,
           t.actor_type,
           t.actor_label,
           e.action,
           k.schema_name AS table_schema,
           k.table_name,
           e.row_key,
           e.old_values,
           e.new_values,
           t.metadata,
           t.database_user,
           t.database_role,
           t.client_addr,
           t.application_name,
           e.started_at,
           e.xid,
           e.tracked_table_id,
           audit._cursor(e.started_at, e.occurred_at, e.id) AS cursor
      FROM audit.event AS e
      LEFT JOIN audit.transaction AS t ON t.started_at = e.started_at AND t.xid = e.xid
      LEFT JOIN audit.tracked_table AS k ON k.id = e.tracked_table_id;

COMMENT ON VIEW audit.change IS
    'Each recorded event with its table, actor and context. old_values and new_values are JSON '
    'objects by column: the whole row for insert (new) and delete (old), the changed columns for '
    'update. Bound started_at in every query, so that only some partitions are read.';
