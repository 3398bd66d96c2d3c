-- The identity of one row: its key columns as an object; the whole row where a table has no key.
-- A key column that is not there was renamed or dropped since the table was attached: then the
-- primary key as it is now. Called for each captured row. The body is parsed once, here, so it
-- needs no search_path of its own, and without SET clause and sub-select the planner inlines it.
-- STABLE, as jsonb_build_object is: a function that claims more than its body is not inlined.
CREATE OR REPLACE FUNCTION audit._row_key(p_row jsonb, p_key_columns text[], p_table oid)
    RETURNS jsonb
    LANGUAGE sql
    STABLE
    PARALLEL SAFE
RETURN CASE
    WHEN NOT p_row ?& p_key_columns
        THEN audit._wide_row_key(p_row, audit._key_columns(p_table))
    WHEN cardinality(p_key_columns) = 1
        THEN jsonb_build_object(p_key_columns[1], p_row -> p_key_columns[1])
    WHEN cardinality(p_key_columns) = 2
        THEN jsonb_build_object(p_key_columns[1], p_row -> p_key_columns[1],
                                p_key_columns[2], p_row -> p_key_columns[2])
    ELSE audit._wide_row_key(p_row, p_key_columns)
END;

COMMENT ON FUNCTION audit._row_key(jsonb, text[], oid) IS
    'Internal: the key columns of a row as a JSON object; the whole row for a table without a key.';
REVOKE ALL ON FUNCTION audit._row_key(jsonb, text[], oid) FROM PUBLIC;
