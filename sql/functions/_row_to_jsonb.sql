-- A row as JSON. SECURITY DEFINER, and owned by a role that may do nothing: to_jsonb() calls the
-- casts to json that owners of types have made, and their code must not run with the rights of
-- capture. Called for each captured row, under the settings of capture.
CREATE OR REPLACE FUNCTION audit._row_to_jsonb(p_row anyelement)
    RETURNS jsonb
    LANGUAGE plpgsql
    STABLE
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $_row_to_jsonb$
BEGIN
    RETURN to_jsonb(p_row);
END;
$_row_to_jsonb$;

COMMENT ON FUNCTION audit._row_to_jsonb(anyelement) IS
    'Internal: a row as JSON, converted without any right.';
REVOKE ALL ON FUNCTION audit._row_to_jsonb(anyelement) FROM PUBLIC;
