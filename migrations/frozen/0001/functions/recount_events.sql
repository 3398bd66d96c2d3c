-- Forget the kept counts from an hour on; maintenance counts them again, and until then the read
-- functions count the events themselves. SECURITY DEFINER: only the owner writes our tables.
CREATE OR REPLACE FUNCTION audit.recount_events(p_from timestamptz)
    RETURNS void
    LANGUAGE plpgsql
    VOLATILE
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET "TimeZone" = 'UTC'
AS $recount_events$
DECLARE
    v_hour timestamptz := date_trunc('hour', p_from);
BEGIN
    IF p_from IS NULL THEN
        RAISE EXCEPTION 'from must not be NULL'
            USING ERRCODE = 'null_value_not_allowed',
                  HINT = 'Name the time from which on to count again; -infinity for all.';
    END IF;
    LOCK TABLE audit.maintenance_run IN SHARE UPDATE EXCLUSIVE MODE;
    DELETE FROM audit.event_count WHERE hour >= v_hour;
    DELETE FROM audit.actor_count WHERE hour >= v_hour;
    UPDATE audit.counting SET counted_to = LEAST(counted_to, v_hour);
END;
$recount_events$;

COMMENT ON FUNCTION audit.recount_events(timestamptz) IS
    'Have the next maintenance count the events again from this hour (UTC) on, for '
    'audit.event_counts() and audit.actor_counts(). Only needed when a client sent transactions '
    'of many hours in one message, or the clock was set back. Raises null_value_not_allowed.';
REVOKE ALL ON FUNCTION audit.recount_events(timestamptz) FROM PUBLIC;
