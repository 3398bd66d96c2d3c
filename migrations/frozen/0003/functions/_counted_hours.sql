-- Cut a period into what is counted hour by hour, and the events before and after. All bounds are
-- included at the start and not at the end; a part may be empty, the three never overlap.
CREATE OR REPLACE FUNCTION audit._counted_hours(
    p_from timestamptz,
    p_to timestamptz,
    OUT from_time timestamptz,
    OUT first_hour timestamptz,
    OUT last_hour timestamptz,
    OUT to_time timestamptz)
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
    SET "TimeZone" = 'UTC'
AS $_counted_hours$
BEGIN
    from_time := COALESCE(p_from, now() - (SELECT default_window FROM audit.setting));
    to_time := COALESCE(p_to, 'infinity');
    first_hour := date_trunc('hour', from_time);
    IF first_hour < from_time THEN
        first_hour := LEAST(first_hour + interval '1 hour', to_time);
    END IF;
    last_hour := GREATEST(first_hour, LEAST(
        date_trunc('hour', to_time), (SELECT counted_to FROM audit.counting)));
END;
$_counted_hours$;

COMMENT ON FUNCTION audit._counted_hours(timestamptz, timestamptz) IS
    'Internal: which hours of a period are counted, and what of it is not.';
REVOKE ALL ON FUNCTION audit._counted_hours(timestamptz, timestamptz) FROM PUBLIC;
