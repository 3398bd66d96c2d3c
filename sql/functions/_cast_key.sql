-- A key as the caller wrote it, in the form in which row keys are recorded: each value goes
-- through the type of its column, so that "17", 17 and 017 find the same row. Only through types
-- of PostgreSQL itself: those of others may run code, here with the rights of the reader. Arrays,
-- objects and documents are taken as they are recorded.
CREATE OR REPLACE FUNCTION audit._cast_key(p_table regclass, p_key_columns text[], p_key jsonb)
    RETURNS jsonb
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
    SET "TimeZone" = 'UTC'
    SET "DateStyle" = 'ISO, YMD'
    SET "IntervalStyle" = 'postgres'
    SET bytea_output = 'hex'
    SET extra_float_digits = '1'
    SET lc_monetary = 'C'
AS $_cast_key$
DECLARE
    v_key jsonb := p_key;
    v_result jsonb := '{}'::jsonb;
    v_column text;
    v_value jsonb;
    v_type text;
BEGIN
    IF p_key_columns = '{}' THEN
        RETURN p_key;
    ELSIF jsonb_typeof(p_key) <> 'object' AND cardinality(p_key_columns) = 1 THEN
        v_key := jsonb_build_object(p_key_columns[1], p_key);
    END IF;
    IF jsonb_typeof(v_key) <> 'object' OR NOT v_key ?& p_key_columns
            OR v_key - p_key_columns <> '{}' THEN
        RAISE EXCEPTION 'the key of % has the columns %, got %',
                p_table, array_to_string(p_key_columns, ', '), p_key
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = format('Pass an object, such as %s.', (
                      SELECT json_object_agg(k, '...') FROM unnest(p_key_columns) AS k));
    END IF;

    FOREACH v_column IN ARRAY p_key_columns LOOP
        v_type := audit._key_type(p_table, v_column, false);
        v_value := v_key -> v_column;
        IF v_type <> 'jsonb' AND jsonb_typeof(v_value) NOT IN ('array', 'object') THEN
            EXECUTE format(
                'SELECT CASE WHEN v.plain::%1$s = v.plain THEN to_jsonb(v.plain::%1$s) '
                '            ELSE to_jsonb(v.plain) END '
                'FROM (SELECT ($1 ->> $2)::%2$s) AS v (plain)',
                audit._key_type(p_table, v_column, true), v_type)
               INTO v_value USING v_key, v_column;
        END IF;
        v_result := v_result || jsonb_build_object(v_column, v_value);
    END LOOP;
    RETURN v_result;
END;
$_cast_key$;

COMMENT ON FUNCTION audit._cast_key(regclass, text[], jsonb) IS
    'Internal: a key as it is recorded; a bare value is taken for a key of one column.';
REVOKE ALL ON FUNCTION audit._cast_key(regclass, text[], jsonb) FROM PUBLIC;
