-- Note down how the file of an archive was found when it was read back: as it was written, or what
-- is wrong with it. An attempt that could not be written ends here, too.
-- SECURITY DEFINER: as audit.set_archive(); the events are counted whatever the caller may see.
CREATE OR REPLACE FUNCTION audit.verify_archive(p_id integer, p_problem text DEFAULT NULL)
    RETURNS audit.archive
    LANGUAGE plpgsql
    VOLATILE
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $verify_archive$
DECLARE
    v_archive audit.archive;
    v_events bigint;
    v_problem text := p_problem;
BEGIN
    SELECT * INTO v_archive FROM audit.archive WHERE id = p_id FOR UPDATE;
    IF v_archive.id IS NULL OR p_problem IS NULL AND v_archive.exported_at IS NULL THEN
        RAISE EXCEPTION 'no archive % is written', COALESCE(p_id::text, 'NULL')
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'See audit.archive for those that are.';
    END IF;
    IF p_problem IS NULL THEN
        SELECT count(*) INTO v_events FROM audit.event AS e
         WHERE e.started_at >= v_archive.from_time AND e.started_at < v_archive.to_time;
        IF v_events > v_archive.events THEN
            v_problem := format('the partition holds %s events, the archive %s', v_events,
                                v_archive.events);
        END IF;
    END IF;
    UPDATE audit.archive
       SET state = CASE WHEN v_problem IS NULL THEN 'verified' ELSE 'failed' END,
           verified_at = CASE WHEN v_problem IS NULL THEN clock_timestamp() ELSE verified_at END,
           message = v_problem
     WHERE id = p_id
    RETURNING * INTO v_archive;
    RETURN v_archive;
END;
$verify_archive$;

COMMENT ON FUNCTION audit.verify_archive(integer, text) IS
    'Called by audit-schema archive: the file of an archive was read back. Without a problem, and '
    'if the partition holds no more events, its state is verified, else failed; then retention '
    'keeps the events, and the next run archives them anew. Returns the row of audit.archive. '
    'Raises object_not_in_prerequisite_state when it was not written.';
REVOKE ALL ON FUNCTION audit.verify_archive(integer, text) FROM PUBLIC;
