-- Record one event for a TRUNCATE, and where the table is attached so, one for each of its rows.
-- Fired AFTER the statement, or BEFORE it, while the rows are there. Arguments: id of the tracked
-- table; to record rows, its key columns and policy as for capture_row; a last one where an actor
-- is required. SECURITY DEFINER: the writer has no right on the trail.
CREATE OR REPLACE FUNCTION audit.capture_truncate()
    RETURNS trigger
    LANGUAGE plpgsql
    VOLATILE
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $capture_truncate$
DECLARE
    v_context jsonb;
    v_first bigint := nextval('audit.event_id_seq');
BEGIN
    IF NULLIF(current_setting('audit.context', true), '') NOT LIKE '{"%}'
            OR octet_length(current_setting('audit.context', true)) > 2500 THEN
        PERFORM audit._check_context(current_setting('audit.context', true));
    END IF;
    v_context := NULLIF(current_setting('audit.context', true), '')::jsonb;
    IF TG_ARGV[TG_NARGS - 1] = 'require_actor' AND v_context ->> 'actor' IS NULL THEN
        PERFORM audit._refuse_anonymous(TG_RELID);
    END IF;
    INSERT INTO audit.event (
        id, started_at, occurred_at, xid, tracked_table_id, action, actor, actor_type,
        actor_label, metadata, backend_pid, client_port, client_addr, database_user,
        database_role, application_name)
    SELECT v_first, now(), clock_timestamp(), txid_current(), TG_ARGV[0]::integer, 'truncate',
           v_context ->> 'actor', c.*
      FROM audit._context_columns(v_context) AS c;
    IF TG_NARGS > 2 THEN
        PERFORM audit._write_truncated_rows(
            TG_RELID, TG_ARGV[0]::integer, TG_ARGV[1]::text[],
            audit._policy(TG_RELID, TG_ARGV[2]), v_first);
    END IF;
    RETURN NULL;
END;
$capture_truncate$;

COMMENT ON FUNCTION audit.capture_truncate() IS
    'Trigger function: record that a table is emptied by TRUNCATE. Attached by audit.attach().';
REVOKE ALL ON FUNCTION audit.capture_truncate() FROM PUBLIC;
