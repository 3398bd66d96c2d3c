-- End a legal hold; its row stays. SECURITY DEFINER: as audit.set_retention().
CREATE OR REPLACE FUNCTION audit.release_hold(p_hold integer)
    RETURNS boolean
    LANGUAGE plpgsql
    VOLATILE
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $release_hold$
DECLARE
    v_hold audit.legal_hold;
BEGIN
    UPDATE audit.legal_hold SET released_at = now(), released_by = session_user
     WHERE id = p_hold AND released_at IS NULL
    RETURNING * INTO v_hold;
    IF NOT FOUND THEN
        IF NOT EXISTS (SELECT FROM audit.legal_hold WHERE id = p_hold) THEN
            RAISE EXCEPTION 'there is no legal hold %', p_hold
                USING ERRCODE = 'invalid_parameter_value',
                      HINT = 'SELECT * FROM audit.legal_hold; shows them.';
        END IF;
        RETURN false;
    END IF;
    IF v_hold.tracked_table_id IS NOT NULL THEN
        PERFORM audit._record_act(v_hold.tracked_table_id, 'release', to_jsonb(v_hold), NULL);
    END IF;
    RETURN true;
END;
$release_hold$;

COMMENT ON FUNCTION audit.release_hold(integer) IS
    'End a legal hold: what it kept expires by its retention again. Returns false when it had '
    'ended. Raises invalid_parameter_value for an unknown one.';
REVOKE ALL ON FUNCTION audit.release_hold(integer) FROM PUBLIC;
