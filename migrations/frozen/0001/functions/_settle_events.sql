-- Find out up to which hour no transaction can bring events any more. A transaction that started
-- before we looked was open then: once all that were open are gone, every hour that had ended is
-- settled. What is open anybody may see in pg_locks and pg_prepared_xacts; when it started, not.
-- A minute is left to whoever had its start stamped and did not show up in pg_locks yet.
CREATE OR REPLACE FUNCTION audit._settle_events()
    RETURNS void
    LANGUAGE plpgsql
    VOLATILE
    SET search_path = pg_catalog, pg_temp
    SET "TimeZone" = 'UTC'
AS $_settle_events$
DECLARE
    v_state audit.counting;
    v_now timestamptz := clock_timestamp() - interval '1 minute';
    v_running text[];
    v_prepared text[];
    v_left text[];
BEGIN
    SELECT * INTO STRICT v_state FROM audit.counting;
    /* a clock that was set back makes events of hours that are counted */
    IF v_now < v_state.observed_at THEN
        PERFORM audit.recount_events(v_now - interval '1 day');
        UPDATE audit.counting SET settled_to = '-infinity', observed_at = NULL
        RETURNING * INTO v_state;
    END IF;

    /* in this order: what is being prepared shows in both */
    PERFORM pg_stat_clear_snapshot();
    v_running := ARRAY(
        SELECT l.virtualxid FROM pg_locks AS l
         WHERE l.locktype = 'virtualxid' AND l.granted AND l.pid <> pg_backend_pid()
           AND NOT EXISTS (
               SELECT FROM pg_stat_activity AS a
                WHERE a.pid = l.pid
                  AND (a.usesysid IS NULL OR a.datname <> current_database())));
    v_prepared := ARRAY(SELECT transaction::text FROM pg_prepared_xacts
                         WHERE database = current_database());
    /* one that ran before may be among those that are prepared now */
    v_left := ARRAY(
        SELECT unnest(v_state.open_transactions)
        INTERSECT SELECT unnest(v_running || v_prepared)
        UNION SELECT unnest(v_prepared)
               WHERE EXISTS (SELECT FROM unnest(v_state.open_transactions) AS o (id)
                              WHERE o.id LIKE '%/%' AND o.id <> ALL (v_running)));
    IF v_state.observed_at IS NULL THEN
        UPDATE audit.counting
           SET observed_at = v_now, open_transactions = v_running || v_prepared;
    ELSIF v_left = '{}' THEN
        UPDATE audit.counting
           SET settled_to = GREATEST(settled_to, date_trunc('hour', v_state.observed_at)),
               settled_by = pg_current_xact_id(),
               observed_at = v_now,
               open_transactions = v_running || v_prepared;
    ELSE
        UPDATE audit.counting SET open_transactions = v_left;
    END IF;
END;
$_settle_events$;

COMMENT ON FUNCTION audit._settle_events() IS
    'Internal: find out up to which hour no transaction can bring events any more.';
REVOKE ALL ON FUNCTION audit._settle_events() FROM PUBLIC;
