-- The periods that need a partition of audit.transaction or audit.event: the running one, p_premake
-- after it, and each that left rows in the DEFAULT partition because nobody made its own in time.
CREATE OR REPLACE FUNCTION audit._periods(
    p_parent text,
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
BEGIN
    FOR from_time, to_time IN EXECUTE format(
        'SELECT period, period + $3 FROM ('
        '    SELECT date_trunc($1, now()) + n * $3 FROM generate_series(0, $2) AS n'
        '    UNION SELECT date_trunc($1, started_at) FROM audit.%I'
        ') AS needed (period) ORDER BY period', p_parent || '_default')
        USING p_interval, p_premake, ('1 ' || p_interval)::interval
    LOOP
        RETURN NEXT;
    END LOOP;
END;
$_periods$;

COMMENT ON FUNCTION audit._periods(text, text, integer) IS
    'Internal: bounds of the periods that need a partition now; UTC; weeks start on Monday.';
REVOKE ALL ON FUNCTION audit._periods(text, text, integer) FROM PUBLIC;
