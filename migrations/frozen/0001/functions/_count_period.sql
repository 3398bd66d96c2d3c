-- Count the events of a period anew. p_source holds all of them: audit.event, or one partition.
CREATE OR REPLACE FUNCTION audit._count_period(
    p_from timestamptz,
    p_to timestamptz,
    p_source regclass)
    RETURNS void
    LANGUAGE plpgsql
    VOLATILE
    SET search_path = pg_catalog, pg_temp
    SET "TimeZone" = 'UTC'
    SET jit = off
AS $_count_period$
BEGIN
    DELETE FROM audit.event_count WHERE hour >= p_from AND hour < p_to;
    DELETE FROM audit.actor_count WHERE hour >= p_from AND hour < p_to;
    EXECUTE format(
        'WITH counted AS MATERIALIZED ('
        '    SELECT date_trunc(''hour'', e.started_at) AS hour, e.tracked_table_id, e.action, '
        '           e.actor, count(*) AS events, GROUPING(e.actor) = 0 AS by_actor '
        '      FROM %s AS e WHERE e.started_at >= $1 AND e.started_at < $2 '
        '     GROUP BY GROUPING SETS ((1, e.tracked_table_id, e.action), (1, e.actor))), '
        'by_table AS ('
        '    INSERT INTO audit.event_count (hour, tracked_table_id, action, events) '
        '    SELECT hour, tracked_table_id, action, events FROM counted WHERE NOT by_actor '
        '     ORDER BY hour) '
        'INSERT INTO audit.actor_count (hour, actor, events) '
        'SELECT hour, actor, events FROM counted WHERE by_actor ORDER BY hour', p_source)
      USING p_from, p_to;
END;
$_count_period$;

COMMENT ON FUNCTION audit._count_period(timestamptz, timestamptz, regclass) IS
    'Internal: count the events of a period, whole hours, anew.';
REVOKE ALL ON FUNCTION audit._count_period(timestamptz, timestamptz, regclass) FROM PUBLIC;
