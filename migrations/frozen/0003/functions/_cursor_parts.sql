-- The position that a cursor names; the end of time for NULL, which starts at the newest event.
CREATE OR REPLACE FUNCTION audit._cursor_parts(
    p_cursor text,
    OUT started_at timestamptz,
    OUT occurred_at timestamptz,
    OUT event_id bigint)
    LANGUAGE plpgsql
    STABLE
    PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $_cursor_parts$
DECLARE
    v_parts bigint[];
BEGIN
    IF p_cursor IS NULL THEN
        started_at := 'infinity';
        occurred_at := 'infinity';
        event_id := 9223372036854775807;
        RETURN;
    ELSIF p_cursor !~ '^[0-9]{1,17}/[0-9]{1,17}/[0-9]{1,18}$' THEN
        RAISE EXCEPTION 'not a cursor: %', quote_literal(p_cursor)
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Pass the column "cursor" of the last row of the page before.';
    END IF;
    v_parts := string_to_array(p_cursor, '/')::bigint[];
    started_at := audit._from_microseconds(v_parts[1]);
    occurred_at := audit._from_microseconds(v_parts[2]);
    event_id := v_parts[3];
END;
$_cursor_parts$;

COMMENT ON FUNCTION audit._cursor_parts(text) IS
    'Internal: the position that a cursor names.';
REVOKE ALL ON FUNCTION audit._cursor_parts(text) FROM PUBLIC;
