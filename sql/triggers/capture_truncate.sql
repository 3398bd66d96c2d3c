-- Record one event for a TRUNCATE; it carries no rows.
-- Fired AFTER the statement. Arguments: id of the tracked table; a second one where an actor is
-- required.
-- SECURITY DEFINER: the writer has no right on the trail.
CREATE OR REPLACE FUNCTION audit.capture_truncate()
    RETURNS trigger
    LANGUAGE plpgsql
    VOLATILE
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $capture_truncate$
DECLARE
    v_context jsonb;
BEGIN
    IF NULLIF(current_setting('audit.context', true), '') NOT LIKE '{"%}'
            OR octet_length(current_setting('audit.context', true)) > 2500 THEN
        PERFORM audit._check_context(current_setting('audit.context', true));
    END IF;
    v_context := NULLIF(current_setting('audit.context', true), '')::jsonb;
    IF TG_NARGS > 1 AND v_context ->> 'actor' IS NULL THEN
        PERFORM audit._refuse_anonymous(TG_RELID);
    END IF;
    INSERT INTO audit.event (
        started_at, occurred_at, xid, tracked_table_id, action, actor, actor_type, actor_label,
        metadata, backend_pid, client_port, client_addr, database_user, database_role,
        application_name)
    SELECT now(), clock_timestamp(), txid_current(), TG_ARGV[0]::integer, 'truncate',
           v_context ->> 'actor', c.*
      FROM audit._context_columns(v_context) AS c;
    RETURN NULL;
END;
$capture_truncate$;

COMMENT ON FUNCTION audit.capture_truncate() IS
    'Trigger function: record that a table was emptied by TRUNCATE. Attached by audit.attach().';
REVOKE ALL ON FUNCTION audit.capture_truncate() FROM PUBLIC;
