-- Let one session at a time attach or detach tables; maintenance and readers go on.
-- Called before the first lock on a table, so that two sessions cannot wait for each other, one for
-- the table and one for its row here. All update the same row: a session whose snapshot is older
-- than the last attach, and who would decide by what is no longer so, fails with
-- serialization_failure. SECURITY DEFINER: as audit._register_table().
CREATE OR REPLACE FUNCTION audit._lock_tracked_tables()
    RETURNS void
    LANGUAGE plpgsql
    VOLATILE
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $_lock_tracked_tables$
BEGIN
    UPDATE audit.tracking SET changed_at = now() WHERE xmin <> pg_current_xact_id()::xid;
END;
$_lock_tracked_tables$;

COMMENT ON FUNCTION audit._lock_tracked_tables() IS
    'Internal: wait until no other session attaches or detaches, and keep others waiting.';
REVOKE ALL ON FUNCTION audit._lock_tracked_tables() FROM PUBLIC;
