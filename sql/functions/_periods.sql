-- The periods that need a partition: the running one, p_premake after it, and each that left rows
-- in the DEFAULT partition because nobody made its own in time.
CREATE OR REPLACE FUNCTION audit._periods(
    p_interval text,
    p_premake integer,
    OUT from_time timestamptz,
    OUT to_time timestamptz)
    RETURNS SETOF record
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
    SET "TimeZone" = 'UTC'
AS $_periods$
DECLARE
    v_length interval := ('1 ' || p_interval)::interval;
BEGIN
    RETURN QUERY
    SELECT needed.period, needed.period + v_length
      FROM (SELECT date_trunc(p_interval, now()) + n * v_length
              FROM generate_series(0, p_premake) AS n
            UNION SELECT date_trunc(p_interval, started_at) FROM audit.event_default
           ) AS needed (period)
     ORDER BY needed.period;
END;
$_periods$;

COMMENT ON FUNCTION audit._periods(text, integer) IS
    'Internal: bounds of the periods that need a partition now; UTC; weeks start on Monday.';
REVOKE ALL ON FUNCTION audit._periods(text, integer) FROM PUBLIC;
