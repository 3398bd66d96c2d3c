-- Let one session at a time attach or detach tables; maintenance and readers go on.
-- Called before the first lock on a table, so that two sessions cannot wait for each other, one for
-- the table and one for its row here. A session whose snapshot is older than the last attach would
-- decide by what is no longer so: the update makes it fail with serialization_failure, since all
-- update the same row. SECURITY DEFINER: as audit._register_table().
CREATE OR REPLACE FUNCTION audit._lock_tracked_tables()
    RETURNS void
    LANGUAGE plpgsql
    VOLATILE
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $_lock_tracked_tables$
BEGIN
    LOCK TABLE audit.tracked_table IN SHARE UPDATE EXCLUSIVE MODE;
    UPDATE audit.setting SET singleton = true WHERE xmin <> pg_current_xact_id()::xid;
END;
$_lock_tracked_tables$;

COMMENT ON FUNCTION audit._lock_tracked_tables() IS
    'Internal: wait until no other session attaches or detaches, and keep others waiting.';
REVOKE ALL ON FUNCTION audit._lock_tracked_tables() FROM PUBLIC;
