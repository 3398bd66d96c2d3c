-- Whether events of a closed partition may be removed: always, as long as there are no archives;
-- with them, when a verified archive holds as many events. More are there after the clock was set
-- back, or when the owner wrote some.
CREATE OR REPLACE FUNCTION audit._may_expire(
    p_partition text,
    p_from timestamptz,
    p_to timestamptz)
    RETURNS boolean
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $_may_expire$
DECLARE
    v_archived bigint;
    v_may boolean;
BEGIN
    IF (SELECT archive_url IS NULL FROM audit.setting) THEN
        RETURN true;
    END IF;
    SELECT a.events INTO v_archived FROM audit.archive AS a
     WHERE a.state = 'verified' AND (a.from_time, a.to_time) = (p_from, p_to);
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    EXECUTE format('SELECT count(*) <= $1 FROM audit.%I', p_partition)
       INTO v_may USING v_archived;
    RETURN v_may;
END;
$_may_expire$;

COMMENT ON FUNCTION audit._may_expire(text, timestamptz, timestamptz) IS
    'Internal: whether events of a closed partition may be removed, as far as archives go.';
REVOKE ALL ON FUNCTION audit._may_expire(text, timestamptz, timestamptz) FROM PUBLIC;
