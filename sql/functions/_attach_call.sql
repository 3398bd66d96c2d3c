-- The call of audit.attach() that captures a table as its row in audit.tracked_table says: what to
-- run to mend its triggers.
CREATE OR REPLACE FUNCTION audit._attach_call(p_table regclass, p_tracked audit.tracked_table)
    RETURNS text
    LANGUAGE sql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $_attach_call$
    SELECT format('SELECT audit.attach(%L%s);', p_table, string_agg(
               format(', %s => %s', option.name, option.value), '' ORDER BY option.position))
      FROM (SELECT 1, 'p_mode', quote_literal(p_tracked.mode) WHERE p_tracked.mode <> 'statement'
            UNION ALL
            SELECT 2, 'p_key_columns', quote_literal(p_tracked.key_columns)
             WHERE p_tracked.key_columns <> audit._key_columns(p_table)
            UNION ALL
            SELECT 3, 'p_' || kind.key,
                   quote_literal(ARRAY(SELECT jsonb_array_elements_text(kind.value)))
              FROM jsonb_each(p_tracked.policy) AS kind
            UNION ALL
            SELECT 4, 'p_require_actor', 'true' WHERE p_tracked.require_actor
            UNION ALL
            SELECT 5, 'p_enable_always', 'true' WHERE p_tracked.enable_always
            UNION ALL
            SELECT 6, 'p_truncated_rows', 'true' WHERE p_tracked.truncated_rows)
           AS option (position, name, value)
$_attach_call$;

COMMENT ON FUNCTION audit._attach_call(regclass, audit.tracked_table) IS
    'Internal: the call of audit.attach() that captures a table as it should be.';
REVOKE ALL ON FUNCTION audit._attach_call(regclass, audit.tracked_table) FROM PUBLIC;
