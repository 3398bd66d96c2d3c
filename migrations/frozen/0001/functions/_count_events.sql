-- Count the events of the hours that another transaction has settled: it committed before we can
-- read of it, so our snapshot shows all of them, under any isolation level. A backlog is worked off
-- week by week; what takes longer than a minute is left to the next run.
CREATE OR REPLACE FUNCTION audit._count_events()
    RETURNS void
    LANGUAGE plpgsql
    VOLATILE
    SET search_path = pg_catalog, pg_temp
    SET "TimeZone" = 'UTC'
    SET plan_cache_mode = force_custom_plan
AS $_count_events$
DECLARE
    c_budget CONSTANT interval := interval '1 minute';
    v_until timestamptz := clock_timestamp() + c_budget;
    v_state audit.counting;
    v_from timestamptz;
    v_to timestamptz;
BEGIN
    SELECT * INTO STRICT v_state FROM audit.counting;
    v_to := v_state.counted_to;
    IF v_state.settled_by = pg_current_xact_id_if_assigned() THEN
        RETURN;
    END IF;
    WHILE v_to < v_state.settled_to AND clock_timestamp() < v_until LOOP
        SELECT LEAST(date_trunc('hour', min(e.started_at)), v_state.settled_to) INTO v_from
          FROM audit.event AS e WHERE e.started_at >= v_to;
        v_to := LEAST(v_from + interval '7 days', v_state.settled_to);
        UPDATE audit.counting SET counted_to = v_to;
        PERFORM audit._count_period(v_from, v_to, 'audit.event');
    END LOOP;
END;
$_count_events$;

COMMENT ON FUNCTION audit._count_events() IS
    'Internal: count the events of hours that are settled.';
REVOKE ALL ON FUNCTION audit._count_events() FROM PUBLIC;
