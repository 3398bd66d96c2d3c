-- The columns of audit.event that say who acted and why, for statements that change many rows: what
-- the application said, and what the server knows itself. One row. Keep in sync with the capture
-- of single rows, which spells the same out: that saves a tenth of its time.
-- The body is parsed once, here, and without SET clause the planner inlines it.
CREATE OR REPLACE FUNCTION audit._context_columns(p_context jsonb)
    RETURNS TABLE (
        actor_type text,
        actor_label text,
        metadata jsonb,
        backend_pid integer,
        client_port integer,
        client_addr inet,
        database_user text,
        database_role text,
        application_name text)
    LANGUAGE sql
    STABLE
    PARALLEL SAFE
BEGIN ATOMIC
    SELECT p_context ->> 'actor_type', p_context ->> 'actor_label', p_context -> 'metadata',
           pg_backend_pid(), inet_client_port(), inet_client_addr(),
           session_user::text, NULLIF(current_setting('role'), 'none'),
           NULLIF(current_setting('application_name'), '');
END;

COMMENT ON FUNCTION audit._context_columns(jsonb) IS
    'Internal: who acts and why, as columns of audit.event.';
REVOKE ALL ON FUNCTION audit._context_columns(jsonb) FROM PUBLIC;
