-- Move the rows of a period from the DEFAULT partition into its table, which is not attached yet;
-- returns how many. The guard of DEFAULT lets this function through, by its name: to disable the
-- guard would take a lock that writers wait for.
CREATE OR REPLACE FUNCTION audit._bring_home(p_from timestamptz, p_to timestamptz)
    RETURNS bigint
    LANGUAGE plpgsql
    VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $_bring_home$
DECLARE
    v_moved bigint;
BEGIN
    EXECUTE format('WITH moved AS (DELETE FROM audit.event_default '
                   'WHERE started_at >= $1 AND started_at < $2 RETURNING *) '
                   'INSERT INTO audit.%I SELECT * FROM moved', audit._partition_name(p_from))
      USING p_from, p_to;
    GET DIAGNOSTICS v_moved = ROW_COUNT;
    RETURN v_moved;
END;
$_bring_home$;

COMMENT ON FUNCTION audit._bring_home(timestamptz, timestamptz) IS
    'Internal: move the rows of a period out of DEFAULT; returns how many moved.';
REVOKE ALL ON FUNCTION audit._bring_home(timestamptz, timestamptz) FROM PUBLIC;
