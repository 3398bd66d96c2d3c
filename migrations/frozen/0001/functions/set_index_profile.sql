-- Choose which indexes partitions have. Only the settings change here; maintenance brings the
-- partitions to them. SECURITY DEFINER: only the owner writes our tables.
CREATE OR REPLACE FUNCTION audit.set_index_profile(p_hot text, p_closed text)
    RETURNS void
    LANGUAGE plpgsql
    VOLATILE
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET lock_timeout = '200ms'
AS $set_index_profile$
DECLARE
    v_profile text;
BEGIN
    FOREACH v_profile IN ARRAY ARRAY[p_hot, p_closed] LOOP
        IF v_profile IS NULL OR v_profile NOT IN ('lean', 'standard', 'search') THEN
            RAISE EXCEPTION 'unknown index profile %', quote_nullable(v_profile)
                USING ERRCODE = 'invalid_parameter_value',
                      HINT = 'Use lean, standard or search.';
        END IF;
    END LOOP;
    UPDATE audit.setting SET hot_index_profile = p_hot, closed_index_profile = p_closed;
END;
$set_index_profile$;

COMMENT ON FUNCTION audit.set_index_profile(text, text) IS
    'Choose the indexes of the partitions that are written to (hot) and of those that no '
    'transaction can write to any more (closed): lean (a row, a transaction), standard (a table '
    'and an actor, too) or search (values and metadata, too). Takes effect by maintenance, which '
    'never builds an index where rows are written: a partition that holds rows gets what it lacks '
    'when it closes. Waits at most 200 ms for a lock. Raises invalid_parameter_value, '
    'lock_not_available.';
REVOKE ALL ON FUNCTION audit.set_index_profile(text, text) FROM PUBLIC;
