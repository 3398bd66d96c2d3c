-- Say how long events are kept: those of a table, or of all tables that were told nothing else.
-- Maintenance removes what is older; see audit._expire_events(). SECURITY DEFINER: an
-- administrator may set it, only the owner writes our tables.
CREATE OR REPLACE FUNCTION audit.set_retention(p_keep interval, p_table regclass DEFAULT NULL)
    RETURNS void
    LANGUAGE plpgsql
    VOLATILE
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET "IntervalStyle" = 'postgres'
AS $set_retention$
DECLARE
    v_id integer := CASE WHEN p_table IS NOT NULL THEN audit._check_tracked(p_table) END;
    v_default interval := (SELECT keep FROM audit.setting);
BEGIN
    IF p_keep < interval '1 day' OR p_keep > interval '10000 years' THEN
        RAISE EXCEPTION 'events must be kept for a day at least and 10000 years at most, got %',
                p_keep
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Pass an interval, such as 7 years; NULL keeps the events of all tables '
                         'for ever, and those of one table as long as the others.';
    END IF;
    IF v_id IS NULL THEN
        UPDATE audit.setting SET keep = p_keep;
        PERFORM audit._record_act(k.id, 'retention', jsonb_build_object('default', v_default),
                                  jsonb_build_object('default', p_keep))
           FROM audit.tracked_table AS k
          WHERE k.keep IS NULL AND v_default IS DISTINCT FROM p_keep;
    ELSE
        PERFORM audit._record_act(k.id, 'retention', jsonb_build_object('keep', k.keep),
                                  jsonb_build_object('keep', p_keep))
           FROM audit.tracked_table AS k
          WHERE k.id = v_id AND k.keep IS DISTINCT FROM p_keep;
        UPDATE audit.tracked_table SET keep = p_keep WHERE id = v_id;
    END IF;
END;
$set_retention$;

COMMENT ON FUNCTION audit.set_retention(interval, regclass) IS
    'Keep the events of a table, or without table those of all tables that were told nothing else, '
    'for so long after the end of their partition; then maintenance removes them, unless a legal '
    'hold keeps them. NULL: without table for ever (the default), with table as long as the '
    'others. Recorded in the trail. Raises invalid_parameter_value, '
    'object_not_in_prerequisite_state for a table never attached.';
REVOKE ALL ON FUNCTION audit.set_retention(interval, regclass) FROM PUBLIC;
