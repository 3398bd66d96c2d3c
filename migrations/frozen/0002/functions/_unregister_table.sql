-- Mark a table as detached in audit.tracked_table, and record that in the trail.
-- Called by audit.detach(). SECURITY DEFINER: as audit._register_table().
CREATE OR REPLACE FUNCTION audit._unregister_table(p_tracked_table_id integer)
    RETURNS void
    LANGUAGE plpgsql
    VOLATILE
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $_unregister_table$
DECLARE
    v_before audit.tracked_table;
BEGIN
    IF EXISTS (SELECT FROM pg_trigger AS t
                WHERE t.tgname = '_audit_truncate'
                  AND t.tgfoid = to_regproc('audit.capture_truncate')
                  AND audit._argument_id(t.tgargs) = p_tracked_table_id) THEN
        RAISE EXCEPTION 'the table with id % is still captured', p_tracked_table_id
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'Call audit.detach() with the name of the table.';
    END IF;
    SELECT * INTO v_before FROM audit.tracked_table
     WHERE id = p_tracked_table_id AND detached_at IS NULL;
    IF FOUND THEN
        UPDATE audit.tracked_table SET detached_at = now() WHERE id = p_tracked_table_id;
        PERFORM audit._record_act(p_tracked_table_id, 'detach', to_jsonb(v_before), NULL);
    END IF;
END;
$_unregister_table$;

COMMENT ON FUNCTION audit._unregister_table(integer) IS
    'Internal: mark a table as detached in audit.tracked_table.';
REVOKE ALL ON FUNCTION audit._unregister_table(integer) FROM PUBLIC;
