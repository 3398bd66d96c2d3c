-- Refuse a setting audit.context that capture cannot record. Called by the capture functions only
-- where the setting does not look like the JSON object that audit.set_context() makes, or is so
-- long that its actor may not fit into an index: so it may take the time to find out.
CREATE OR REPLACE FUNCTION audit._check_context(p_setting text)
    RETURNS void
    LANGUAGE plpgsql
    VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $_check_context$
DECLARE
    c_hint CONSTANT text := 'Set it with audit.set_context(actor, metadata), or have nothing '
                            'recorded: RESET audit.context;';
    v_context jsonb;
BEGIN
    BEGIN
        v_context := p_setting::jsonb;
    EXCEPTION WHEN data_exception OR statement_too_complex THEN
        RAISE EXCEPTION 'setting audit.context must be a JSON object, got %', left(p_setting, 200)
            USING ERRCODE = 'invalid_parameter_value', DETAIL = SQLERRM, HINT = c_hint;
    END;
    IF jsonb_typeof(v_context) <> 'object' THEN
        RAISE EXCEPTION 'setting audit.context must be a JSON object, got %', left(p_setting, 200)
            USING ERRCODE = 'invalid_parameter_value', HINT = c_hint;
    ELSIF octet_length(v_context ->> 'actor') > 2500 THEN
        RAISE EXCEPTION 'setting audit.context has an actor of % bytes, at most 2500 are allowed',
                octet_length(v_context ->> 'actor')
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Name the actor by an id; the rest may go into metadata.';
    END IF;
END;
$_check_context$;

COMMENT ON FUNCTION audit._check_context(text) IS
    'Internal: raise an error for a setting audit.context that is not a JSON object or has too '
    'long an actor.';
REVOKE ALL ON FUNCTION audit._check_context(text) FROM PUBLIC;
