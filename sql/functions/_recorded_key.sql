-- A key as it is recorded where columns of it are hashed. SECURITY DEFINER: a reader looks up the
-- history of a row by its true key, but must not know what the hashes are made with, nor have the
-- values of other columns hashed.
CREATE OR REPLACE FUNCTION audit._recorded_key(p_tracked_table_id integer, p_key jsonb)
    RETURNS jsonb
    LANGUAGE sql
    STABLE
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $_recorded_key$
    SELECT audit._apply_policy(p_key, NULLIF(k.policy, '{}'))
      FROM audit.tracked_table AS k
     WHERE k.id = p_tracked_table_id
       AND (k.key_columns = '{}' OR p_key ?& k.key_columns AND p_key - k.key_columns = '{}')
$_recorded_key$;

COMMENT ON FUNCTION audit._recorded_key(integer, jsonb) IS
    'Internal: a row key as the policy of its table lets it be recorded.';
REVOKE ALL ON FUNCTION audit._recorded_key(integer, jsonb) FROM PUBLIC;
