-- Mark a table as detached in audit.tracked_table.
-- Called by audit.detach(). SECURITY DEFINER: as audit._register_table().
CREATE OR REPLACE FUNCTION audit._unregister_table(p_tracked_table_id integer)
    RETURNS void
    LANGUAGE sql
    VOLATILE
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $_unregister_table$
    UPDATE audit.tracked_table SET detached_at = now()
     WHERE id = p_tracked_table_id AND detached_at IS NULL
$_unregister_table$;

COMMENT ON FUNCTION audit._unregister_table(integer) IS
    'Internal: mark a table as detached in audit.tracked_table.';
REVOKE ALL ON FUNCTION audit._unregister_table(integer) FROM PUBLIC;
