-- Refuse a setting audit.context that capture cannot use. Called by the capture functions.
CREATE OR REPLACE FUNCTION audit._refuse_context(p_context jsonb)
    RETURNS void
    LANGUAGE plpgsql
    VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $_refuse_context$
BEGIN
    RAISE EXCEPTION 'setting audit.context must be a JSON object, got %', p_context
        USING ERRCODE = 'invalid_parameter_value',
              HINT = 'Set it with audit.set_context(actor, metadata).';
END;
$_refuse_context$;

COMMENT ON FUNCTION audit._refuse_context(jsonb) IS
    'Internal: raise an error for a context that is not a JSON object.';
REVOKE ALL ON FUNCTION audit._refuse_context(jsonb) FROM PUBLIC;
