-- The periods that need a partition and have none: the running one, p_premake after it, and each
-- that left rows in the DEFAULT partition because nobody made its own in time. Only what no
-- partition covers is taken of a period, so it may be shorter than p_interval, or fall into parts:
-- after the interval was changed, or beside partitions that somebody made by hand.
CREATE OR REPLACE FUNCTION audit._periods(
    p_interval text,
    p_premake integer,
    OUT from_time timestamptz,
    OUT to_time timestamptz,
    OUT is_running boolean,
    OUT has_rows boolean,
    OUT shorter text[])
    RETURNS SETOF record
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
    SET "TimeZone" = 'UTC'
AS $_periods$
DECLARE
    v_length interval := ('1 ' || p_interval)::interval;
    v_running timestamptz := date_trunc(p_interval, now());
    v_covered tstzmultirange := COALESCE(
        (SELECT range_agg(tstzrange(p.from_time, p.to_time)) FROM audit.partition AS p
          WHERE NOT p.is_default), tstzmultirange());
    v_next timestamptz := COALESCE(
        (SELECT p.to_time FROM audit.partition AS p
          WHERE p.from_time <= now() AND p.to_time > now()), v_running + v_length);
BEGIN
    RETURN QUERY
    WITH needed (period) AS (
        SELECT v_running
        UNION SELECT date_trunc(p_interval, v_next) + n * v_length
                FROM generate_series(0, p_premake - 1) AS n
        UNION SELECT date_trunc(p_interval, started_at) FROM audit.event_default)
    SELECT lower(g.gap), upper(g.gap),
           g.gap @> now(),
           r.has_rows,
           CASE WHEN g.gap = n.whole THEN '{}'::text[]
                ELSE ARRAY[audit._partition_name(lower(g.gap))] END
      FROM (SELECT tstzrange(period, period + v_length) FROM needed) AS n (whole)
     CROSS JOIN unnest(tstzmultirange(n.whole) - v_covered) AS g (gap)
     CROSS JOIN LATERAL (
           SELECT EXISTS (SELECT FROM audit.event_default AS d
                           WHERE d.started_at >= lower(g.gap) AND d.started_at < upper(g.gap))
           ) AS r (has_rows)
     WHERE upper(g.gap) > now() OR r.has_rows
     ORDER BY lower(g.gap);
END;
$_periods$;

COMMENT ON FUNCTION audit._periods(text, integer) IS
    'Internal: bounds of the periods that need a partition and have none; UTC; weeks start on '
    'Monday. has_rows: rows of it are in DEFAULT; shorter: its name, if it is no whole period.';
REVOKE ALL ON FUNCTION audit._periods(text, integer) FROM PUBLIC;
