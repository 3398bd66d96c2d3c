-- Compute audit.event.row_hash anew. A hash depends on the encoding of the database and the byte
-- order of the machine, so a dump that was restored to another kind needs this once; audit.check()
-- says so. SECURITY DEFINER: only the owner writes our tables.
CREATE OR REPLACE FUNCTION audit.rehash_rows()
    RETURNS bigint
    LANGUAGE plpgsql
    VOLATILE
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $rehash_rows$
DECLARE
    v_partition regclass;
    v_count bigint;
    v_changed bigint := 0;
BEGIN
    LOCK TABLE audit.maintenance_run IN SHARE UPDATE EXCLUSIVE MODE;
    PERFORM audit._guard_partitions();
    FOR v_partition IN
        SELECT inhrelid FROM pg_inherits WHERE inhparent = 'audit.event'::regclass
    LOOP
        EXECUTE format('ALTER TABLE %s DISABLE TRIGGER append_only', v_partition);
        EXECUTE format('UPDATE %s SET row_hash = jsonb_hash_extended(row_key, tracked_table_id) '
                       'WHERE row_hash IS DISTINCT FROM '
                       'jsonb_hash_extended(row_key, tracked_table_id)', v_partition);
        GET DIAGNOSTICS v_count = ROW_COUNT;
        v_changed := v_changed + v_count;
        EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER append_only', v_partition);
    END LOOP;
    UPDATE audit.setting SET hash_sample = audit._hash_sample();
    RETURN v_changed;
END;
$rehash_rows$;

COMMENT ON FUNCTION audit.rehash_rows() IS
    'Compute audit.event.row_hash anew, by which audit.history() finds a row; returns how many '
    'were wrong. Only needed where audit.check() says so: after a dump was restored to a database '
    'of another encoding or a machine of another byte order. Writers wait until it is done.';
REVOKE ALL ON FUNCTION audit.rehash_rows() FROM PUBLIC;
