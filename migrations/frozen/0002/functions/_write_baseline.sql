-- Write one batch of a baseline, and how far it came. Called by audit.record_baseline().
-- SECURITY DEFINER: as audit._register_table().
CREATE OR REPLACE FUNCTION audit._write_baseline(
    p_table regclass,
    p_rows jsonb[],
    p_finished boolean)
    RETURNS bigint
    LANGUAGE plpgsql
    VOLATILE
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $_write_baseline$
DECLARE
    v_id integer := audit._tracked_table_id(p_table);
    v_tracked audit.tracked_table;
    v_policy jsonb;
    v_context jsonb;
    v_first bigint;
    v_count bigint := COALESCE(cardinality(p_rows), 0);
BEGIN
    PERFORM audit._check_context(NULLIF(current_setting('audit.context', true), ''));
    v_context := NULLIF(current_setting('audit.context', true), '')::jsonb;
    SELECT * INTO STRICT v_tracked FROM audit.tracked_table
     WHERE id = v_id AND detached_at IS NULL;
    v_policy := audit._policy(p_table, audit._policy_argument(p_table, v_tracked.policy));
    v_first := nextval('audit.event_id_seq');
    INSERT INTO audit.event (
        id, context_id, started_at, occurred_at, xid, tracked_table_id, action, row_key,
        row_hash, new_values, actor, actor_type, actor_label, metadata, backend_pid,
        client_port, client_addr, database_user, database_role, application_name)
    SELECT CASE WHEN n.position = 1 THEN v_first ELSE nextval('audit.event_id_seq') END,
           CASE WHEN n.position > 1 THEN v_first END,
           now(), clock_timestamp(), txid_current(), v_tracked.id, 'baseline',
           n.key, jsonb_hash_extended(n.key, v_id),
           audit._apply_policy(n.row, v_policy), v_context ->> 'actor', c.*
      FROM (SELECT r.row, r.position,
                   audit._apply_policy(
                       audit._row_key(r.row, v_tracked.key_columns, p_table), v_policy) AS key
              FROM unnest(p_rows) WITH ORDINALITY AS r (row, position) OFFSET 0) AS n
      LEFT JOIN audit._context_columns(v_context) AS c ON n.position = 1;

    INSERT INTO audit.baseline AS b (tracked_table_id, position, recorded, finished_at)
    SELECT v_tracked.id,
           CASE WHEN NOT p_finished
                THEN audit._row_key(p_rows[v_count], audit._key_columns(p_table), p_table) END,
           v_count, CASE WHEN p_finished THEN now() END
        ON CONFLICT ON CONSTRAINT baseline_pkey DO UPDATE
       SET position = excluded.position,
           recorded = b.recorded + excluded.recorded,
           finished_at = excluded.finished_at;
    RETURN v_count;
END;
$_write_baseline$;

COMMENT ON FUNCTION audit._write_baseline(regclass, jsonb[], boolean) IS
    'Internal: write rows of a table as events of action baseline; returns how many.';
REVOKE ALL ON FUNCTION audit._write_baseline(regclass, jsonb[], boolean) FROM PUBLIC;
