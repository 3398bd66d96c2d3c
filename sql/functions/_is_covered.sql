-- Whether a partition covers a period already.
CREATE OR REPLACE FUNCTION audit._is_covered(p_from timestamptz, p_to timestamptz)
    RETURNS boolean
    LANGUAGE sql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $_is_covered$
    SELECT EXISTS (SELECT FROM audit.partition AS p
                    WHERE p.from_time <= p_from AND p.to_time >= p_to)
$_is_covered$;

COMMENT ON FUNCTION audit._is_covered(timestamptz, timestamptz) IS
    'Internal: whether a partition covers a period.';
REVOKE ALL ON FUNCTION audit._is_covered(timestamptz, timestamptz) FROM PUBLIC;
