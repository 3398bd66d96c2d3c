-- The identity of one row: its key columns as an object; the whole row where a table has no key.
-- Called for each captured row, of which most have a key of one column. The body is parsed once,
-- here, so it needs no search_path of its own, and without SET clause and sub-select the planner
-- inlines it. It is kept short, since each transaction prepares the inlined text anew.
-- STABLE, as jsonb_build_object is: a function that claims more than its body is not inlined.
CREATE OR REPLACE FUNCTION audit._row_key(p_row jsonb, p_key_columns text[], p_table oid)
    RETURNS jsonb
    LANGUAGE sql
    STABLE
    PARALLEL SAFE
RETURN CASE
    WHEN cardinality(p_key_columns) = 1 AND p_row ? p_key_columns[1]
        THEN jsonb_build_object(p_key_columns[1], p_row -> p_key_columns[1])
    ELSE audit._wide_row_key(p_row, p_key_columns, p_table)
END;

COMMENT ON FUNCTION audit._row_key(jsonb, text[], oid) IS
    'Internal: the key columns of a row as a JSON object; the whole row for a table without a key.';
REVOKE ALL ON FUNCTION audit._row_key(jsonb, text[], oid) FROM PUBLIC;
