-- Record what was done to the capture of a table itself: an event of action attach, detach, rename,
-- drop or ddl, with what was so before and after, and the context of the session.
CREATE OR REPLACE FUNCTION audit._record_act(
    p_tracked_table_id integer,
    p_action text,
    p_old jsonb,
    p_new jsonb)
    RETURNS void
    LANGUAGE plpgsql
    VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $_record_act$
DECLARE
    v_context jsonb;
BEGIN
    PERFORM audit._check_context(NULLIF(current_setting('audit.context', true), ''));
    v_context := NULLIF(current_setting('audit.context', true), '')::jsonb;
    INSERT INTO audit.event (
        started_at, occurred_at, xid, tracked_table_id, action, old_values, new_values, actor,
        actor_type, actor_label, metadata, backend_pid, client_port, client_addr, database_user,
        database_role, application_name)
    SELECT now(), clock_timestamp(), txid_current(), p_tracked_table_id, p_action, p_old, p_new,
           v_context ->> 'actor', c.*
      FROM audit._context_columns(v_context) AS c;
END;
$_record_act$;

COMMENT ON FUNCTION audit._record_act(integer, text, jsonb, jsonb) IS
    'Internal: record an act on the capture of a table.';
REVOKE ALL ON FUNCTION audit._record_act(integer, text, jsonb, jsonb) FROM PUBLIC;
