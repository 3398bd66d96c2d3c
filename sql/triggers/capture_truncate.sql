-- Record one event for a TRUNCATE; it carries no rows.
-- Fired AFTER the statement. Argument: id of the tracked table.
-- SECURITY DEFINER: the writer has no right on the trail.
CREATE OR REPLACE FUNCTION audit.capture_truncate()
    RETURNS trigger
    LANGUAGE plpgsql
    VOLATILE
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $capture_truncate$
BEGIN
    INSERT INTO audit.event (started_at, occurred_at, xid, tracked_table_id, action)
    VALUES (now(), clock_timestamp(), txid_current(), TG_ARGV[0]::integer, 'truncate');
    PERFORM audit._record_transaction();
    RETURN NULL;
END;
$capture_truncate$;

COMMENT ON FUNCTION audit.capture_truncate() IS
    'Trigger function: record that a table was emptied by TRUNCATE. Attached by audit.attach().';
REVOKE ALL ON FUNCTION audit.capture_truncate() FROM PUBLIC;
