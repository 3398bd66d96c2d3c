-- Begin the archive of the oldest closed partition that has none, or go on with one that was
-- interrupted. Called by audit-schema archive: once, and commits, so that the attempt is known
-- whatever happens; then again in the transaction that exports, for the lock on its row.
-- SECURITY DEFINER: as audit.set_archive().
CREATE OR REPLACE FUNCTION audit.start_archive()
    RETURNS audit.archive
    LANGUAGE plpgsql
    VOLATILE
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET "TimeZone" = 'UTC'
AS $start_archive$
DECLARE
    c_day CONSTANT text := 'YYYY-MM-DD';
    v_folder text := (SELECT rtrim(archive_url, '/') FROM audit.setting);
    v_period record;
    v_archive audit.archive;
BEGIN
    IF v_folder IS NULL THEN
        RAISE EXCEPTION 'no place for archives is set'
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'Name one: SELECT audit.set_archive(''s3://bucket/audit'');';
    END IF;
    SELECT * INTO v_period FROM audit._unarchived() ORDER BY from_time LIMIT 1;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;

    INSERT INTO audit.archive (id, from_time, to_time, state, url, created_by)
    SELECT n.id, v_period.from_time, v_period.to_time, 'exporting',
           format('%s/event_%s_%s_%s.parquet', v_folder, to_char(v_period.from_time, c_day),
                  to_char(v_period.to_time, c_day), n.id),
           session_user
      FROM nextval(pg_get_serial_sequence('audit.archive', 'id')) AS n (id)
     WHERE NOT EXISTS (SELECT FROM audit.archive AS a
                        WHERE a.state <> 'failed' AND (a.from_time, a.to_time)
                              = (v_period.from_time, v_period.to_time))
        ON CONFLICT DO NOTHING;
    BEGIN
        SELECT * INTO STRICT v_archive FROM audit.archive AS a
         WHERE a.state <> 'failed'
           AND (a.from_time, a.to_time) = (v_period.from_time, v_period.to_time)
           FOR UPDATE NOWAIT;
    EXCEPTION WHEN lock_not_available THEN
        RAISE EXCEPTION 'another run archives the events from % to %',
                v_period.from_time, v_period.to_time
            USING ERRCODE = 'lock_not_available',
                  HINT = 'Wait until it is through; see audit.archive.';
    END;
    RETURN v_archive;
END;
$start_archive$;

COMMENT ON FUNCTION audit.start_archive() IS
    'Called by audit-schema archive: begin the archive of the oldest closed partition that has '
    'none, or go on with one that was interrupted. Returns its row of audit.archive, locked for '
    'the transaction; NULL when all are archived. Raises object_not_in_prerequisite_state when no '
    'place is set, lock_not_available when another run is at it.';
REVOKE ALL ON FUNCTION audit.start_archive() FROM PUBLIC;
