-- Each event as people read it: names instead of ids, and the context of its statement.
CREATE OR REPLACE VIEW audit.change WITH (security_invoker = true) AS
    SELECT audit.transaction_id(e.started_at, e.xid) AS transaction_id,
           e.id AS event_id,
           e.occurred_at,
           e.actor,
           COALESCE(e.actor_type, c.actor_type) AS actor_type,
           COALESCE(e.actor_label, c.actor_label) AS actor_label,
           e.action,
           k.schema_name AS table_schema,
           k.table_name,
           e.row_key,
           e.old_values,
           e.new_values,
           COALESCE(e.metadata, c.metadata) AS metadata,
           COALESCE(e.database_user, c.database_user) AS database_user,
           COALESCE(e.database_role, c.database_role) AS database_role,
           COALESCE(e.client_addr, c.client_addr) AS client_addr,
           COALESCE(e.application_name, c.application_name) AS application_name,
           e.started_at,
           e.xid,
           e.tracked_table_id,
           audit._cursor(e.started_at, e.occurred_at, e.id) AS cursor
      FROM audit.event AS e
      LEFT JOIN audit.event AS c ON c.started_at = e.started_at AND c.id = e.context_id
      LEFT JOIN audit.tracked_table AS k ON k.id = e.tracked_table_id;

COMMENT ON VIEW audit.change IS
    'Each recorded event with its table, actor and context. old_values and new_values are JSON '
    'objects by column: the whole row for insert (new) and delete (old), the changed columns for '
    'update. Bound started_at in every query, so that only some partitions are read.';
COMMENT ON COLUMN audit.change.transaction_id IS
    'Id of the transaction, for audit.transaction_changes(); sorts by time.';
COMMENT ON COLUMN audit.change.event_id IS 'Id of the event; orders the events of a transaction.';
COMMENT ON COLUMN audit.change.occurred_at IS 'Clock when the change was recorded.';
COMMENT ON COLUMN audit.change.actor IS
    'Who is accountable, as the application said; NULL when it said nothing.';
COMMENT ON COLUMN audit.change.actor_type IS 'Kind of actor, such as user or service.';
COMMENT ON COLUMN audit.change.actor_label IS 'Readable name of the actor at that time.';
COMMENT ON COLUMN audit.change.action IS
    'insert, update, delete or truncate; baseline for a row that was there before; attach, '
    'detach, rename, drop, ddl, grant, revoke, retention, hold, release or expire for acts on the '
    'table or its trail.';
COMMENT ON COLUMN audit.change.table_schema IS 'Schema of the table, as last known.';
COMMENT ON COLUMN audit.change.table_name IS 'Name of the table, as last known.';
COMMENT ON COLUMN audit.change.row_key IS
    'Key columns of the row as a JSON object; the whole row for a table without a key.';
COMMENT ON COLUMN audit.change.old_values IS
    'Values before: the whole row for delete, the changed columns for update.';
COMMENT ON COLUMN audit.change.new_values IS
    'Values after: the whole row for insert, the changed columns for update.';
COMMENT ON COLUMN audit.change.metadata IS
    'Why, as the application said: reason, request id, ticket ...';
COMMENT ON COLUMN audit.change.database_user IS 'Role that logged in.';
COMMENT ON COLUMN audit.change.database_role IS 'Role set by SET ROLE; NULL when none was.';
COMMENT ON COLUMN audit.change.client_addr IS
    'Address of the client (of the pooler, behind one); NULL for a Unix-domain socket.';
COMMENT ON COLUMN audit.change.application_name IS 'application_name of the session.';
COMMENT ON COLUMN audit.change.started_at IS
    'Start of the transaction; partitions are by this time.';
COMMENT ON COLUMN audit.change.xid IS 'Transaction id of the server, 64 bits.';
COMMENT ON COLUMN audit.change.tracked_table_id IS 'The table: audit.tracked_table.id.';
COMMENT ON COLUMN audit.change.cursor IS
    'Position of the event, to pass as p_before of the next page.';
