-- Keep events whatever their retention: those of a table, of a row, of a period, or what is within
-- all that is named. SECURITY DEFINER: as audit.set_retention().
CREATE OR REPLACE FUNCTION audit.place_hold(
    p_reason text,
    p_table regclass DEFAULT NULL,
    p_key jsonb DEFAULT NULL,
    p_from timestamptz DEFAULT NULL,
    p_to timestamptz DEFAULT NULL)
    RETURNS integer
    LANGUAGE plpgsql
    VOLATILE
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $place_hold$
DECLARE
    v_table_id integer := CASE WHEN p_table IS NOT NULL THEN audit._check_tracked(p_table) END;
    v_from timestamptz := COALESCE(p_from, '-infinity');
    v_to timestamptz := COALESCE(p_to, 'infinity');
    v_key jsonb;
    v_hold audit.legal_hold;
BEGIN
    IF p_reason IS NULL OR btrim(p_reason) = '' THEN
        RAISE EXCEPTION 'a legal hold needs a reason'
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Pass why, such as the number of the case.';
    ELSIF v_from >= v_to THEN
        RAISE EXCEPTION 'the period of a legal hold ends before it begins: from % to %',
                v_from, v_to
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Pass p_from before p_to; from is included, to is not.';
    ELSIF p_key IS NOT NULL AND v_table_id IS NULL THEN
        RAISE EXCEPTION 'a legal hold on the row % needs its table', p_key
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Pass p_table, such as audit.place_hold(''case 12'', ''public.orders'', '
                         '''17'').';
    ELSIF p_key IS NOT NULL THEN
        v_key := audit._recorded_key(v_table_id, audit._cast_key(
            p_table, (SELECT key_columns FROM audit.tracked_table WHERE id = v_table_id), p_key));
    END IF;
    /* an expiry that is under way does not know of it */
    LOCK TABLE audit.maintenance_run IN SHARE UPDATE EXCLUSIVE MODE;
    INSERT INTO audit.legal_hold (
        reason, tracked_table_id, row_key, from_time, to_time, placed_by)
    VALUES (p_reason, v_table_id, v_key, v_from, v_to, session_user)
    RETURNING * INTO v_hold;
    IF v_table_id IS NOT NULL THEN
        PERFORM audit._record_act(v_table_id, 'hold', NULL, to_jsonb(v_hold));
    END IF;
    RETURN v_hold.id;
END;
$place_hold$;

COMMENT ON FUNCTION audit.place_hold(text, regclass, jsonb, timestamptz, timestamptz) IS
    'Place a legal hold: keep events whatever their retention; returns its id. Table, key (as of '
    'audit.history()) and period (start of the transaction; from is included, to is not) narrow it '
    'down; without any of them, nothing expires. Waits for maintenance that is running. Raises '
    'invalid_parameter_value, object_not_in_prerequisite_state for a table never attached.';
REVOKE ALL ON FUNCTION audit.place_hold(text, regclass, jsonb, timestamptz, timestamptz)
    FROM PUBLIC;
