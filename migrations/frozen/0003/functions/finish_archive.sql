-- Note down what was written: the file is in its place, and not read back yet.
-- SECURITY DEFINER: as audit.set_archive().
CREATE OR REPLACE FUNCTION audit.finish_archive(
    p_id integer,
    p_events bigint,
    p_bytes bigint,
    p_sha256 text,
    p_content_sha256 text)
    RETURNS audit.archive
    LANGUAGE plpgsql
    VOLATILE
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $finish_archive$
DECLARE
    v_archive audit.archive;
BEGIN
    UPDATE audit.archive
       SET state = 'exported', exported_at = clock_timestamp(), events = p_events,
           bytes = p_bytes, sha256 = p_sha256, content_sha256 = p_content_sha256
     WHERE id = p_id AND state = 'exporting'
    RETURNING * INTO v_archive;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no archive % is being exported', COALESCE(p_id::text, 'NULL')
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'audit.start_archive() begins one; see audit.archive.';
    END IF;
    RETURN v_archive;
END;
$finish_archive$;

COMMENT ON FUNCTION audit.finish_archive(integer, bigint, bigint, text, text) IS
    'Called by audit-schema archive: the file of an archive is written. Arguments and result as '
    'the columns of audit.archive. Raises object_not_in_prerequisite_state when it is not being '
    'exported.';
REVOKE ALL ON FUNCTION audit.finish_archive(integer, bigint, bigint, text, text) FROM PUBLIC;
