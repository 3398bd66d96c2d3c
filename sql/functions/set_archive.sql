-- Say where archives go, or that there are none: then retention waits for none.
-- SECURITY DEFINER: an administrator may set it, only the owner writes our tables.
CREATE OR REPLACE FUNCTION audit.set_archive(p_url text)
    RETURNS void
    LANGUAGE plpgsql
    VOLATILE
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $set_archive$
DECLARE
    v_before text := (SELECT archive_url FROM audit.setting);
BEGIN
    IF p_url !~ '^(/|[a-z][a-z0-9+.-]*://)[^[:space:]]*$' OR p_url ~ '::|[?#]' THEN
        RAISE EXCEPTION 'not a place for archives: %', quote_literal(p_url)
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Pass the URL of a folder, such as s3://bucket/audit, or its path, such '
                         'as /var/backups/audit; NULL for no archives.';
    ELSIF p_url ~ '://[^/]*@' THEN
        RAISE EXCEPTION 'the URL of the archives holds a login'
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Readers of the trail see it: give the login to audit-schema archive, as '
                         'the storage has it, for S3 by the AWS_ variables or a profile.';
    END IF;
    PERFORM audit._record_act(k.id, 'retention', jsonb_build_object('archive', v_before),
                              jsonb_build_object('archive', p_url))
       FROM audit.tracked_table AS k
      WHERE v_before IS DISTINCT FROM p_url;
    UPDATE audit.setting SET archive_url = p_url;
END;
$set_archive$;

COMMENT ON FUNCTION audit.set_archive(text) IS
    'Keep archives of closed partitions in a folder: a URL that fsspec knows (s3://...) or a path, '
    'as seen from where audit-schema archive runs. From then on maintenance removes nothing that '
    'has no verified archive. NULL: no archives (the default). Recorded in the trail. Raises '
    'invalid_parameter_value.';
REVOKE ALL ON FUNCTION audit.set_archive(text) FROM PUBLIC;
