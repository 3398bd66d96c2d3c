-- Record one event for each row that an UPDATE statement changed.
-- Fired AFTER the statement, with its transition tables old_rows and new_rows. SECURITY DEFINER:
-- the writer has no right on the trail. The rest is as in capture_insert. Old and new are paired by
-- their position: PostgreSQL appends both versions of a row to the two tables together
-- (AfterTriggerSaveEvent in trigger.c, 15 to 18), and a changed key does not matter then.
-- Nested loops are off because a plan made for two rows is kept for millions; hash joins because
-- events are numbered in the order in which the rows were changed.
CREATE OR REPLACE FUNCTION audit.capture_update()
    RETURNS trigger
    LANGUAGE plpgsql
    VOLATILE
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET jit = off
    SET plan_cache_mode = force_generic_plan
    SET enable_nestloop = off
    SET enable_hashjoin = off
    SET "TimeZone" = 'UTC'
    SET "DateStyle" = 'ISO, YMD'
    SET "IntervalStyle" = 'postgres'
    SET bytea_output = 'hex'
    SET extra_float_digits = '1'
    SET lc_monetary = 'C'
    SET quote_all_identifiers = off
AS $capture_update$
#variable_conflict use_variable
DECLARE
    v_table integer := TG_ARGV[0]::integer;
    v_key_columns text[] := TG_ARGV[1]::text[];
    v_old jsonb;
    v_new jsonb;
    v_more boolean;
    v_pair jsonb[];
    v_key jsonb;
    v_same text[];
    v_context jsonb;
    v_plain boolean;
    v_policy jsonb;
    v_first bigint;
BEGIN
    /* the first row, and whether there are more: see capture_insert */
    SELECT CASE WHEN TG_ARGV[2] = '{}'
                 AND NOT EXISTS (SELECT FROM pg_depend AS d
                                  WHERE d.classid = 'pg_class'::regclass AND d.objid = TG_RELID
                                    AND d.refclassid = 'pg_type'::regclass)
                THEN ARRAY[to_jsonb(o.*), to_jsonb(n.*)] END,
           EXISTS (SELECT FROM new_rows OFFSET 1)
      INTO v_pair, v_more
      FROM old_rows AS o, new_rows AS n LIMIT 1;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    IF NULLIF(current_setting('audit.context', true), '') NOT LIKE '{"%}'
            OR octet_length(current_setting('audit.context', true)) > 2500 THEN
        PERFORM audit._check_context(current_setting('audit.context', true));
    END IF;
    v_context := NULLIF(current_setting('audit.context', true), '')::jsonb;
    IF TG_NARGS > 3 AND v_context ->> 'actor' IS NULL THEN
        PERFORM audit._refuse_anonymous(TG_RELID);
    END IF;

    IF NOT v_more AND v_pair IS NOT NULL THEN
        v_old := v_pair[1];
        v_new := v_pair[2];
        v_key := audit._row_key(v_new, v_key_columns, TG_RELID);
        /* leave out what stayed the same, compared byte for byte: equality takes 1.0 for 1.00 */
        v_same := ARRAY(SELECT o.key FROM jsonb_each(v_old) AS o
                         WHERE ROW(o.value)::record OPERATOR(pg_catalog.*=)
                               ROW(v_new -> o.key)::record);
        v_old := v_old - v_same;
        v_new := v_new - v_same;
        IF v_old = '{}' THEN
            RETURN NULL;
        END IF;
        INSERT INTO audit.event (
            started_at, occurred_at, xid, tracked_table_id, action,
            row_key, row_hash, old_values, new_values,
            actor, actor_type, actor_label, metadata,
            backend_pid, client_port, client_addr,
            database_user, database_role, application_name)
        VALUES (
            now(), clock_timestamp(), txid_current(), v_table, 'update',
            v_key, jsonb_hash_extended(v_key, v_table), v_old, v_new,
            v_context ->> 'actor', v_context ->> 'actor_type', v_context ->> 'actor_label',
            v_context -> 'metadata', pg_backend_pid(), inet_client_port(), inet_client_addr(),
            session_user, NULLIF(current_setting('role'), 'none'),
            NULLIF(current_setting('application_name'), ''));
        RETURN NULL;
    END IF;

    v_plain := v_pair IS NOT NULL OR NOT audit._has_foreign_types(TG_RELID);
    v_policy := audit._policy(TG_RELID, TG_ARGV[2]);
    v_first := nextval('audit.event_id_seq');
    INSERT INTO audit.event (
        id, context_id, started_at, occurred_at, xid, tracked_table_id, action, row_key,
        row_hash, old_values, new_values, actor, actor_type, actor_label, metadata, backend_pid,
        client_port, client_addr, database_user, database_role, application_name)
    SELECT CASE WHEN d.position = 1 THEN v_first ELSE nextval('audit.event_id_seq') END,
           CASE WHEN d.position > 1 THEN v_first END,
           now(), clock_timestamp(), txid_current(), v_table, 'update',
           d.key, jsonb_hash_extended(d.key, v_table), d.old, d.new,
           v_context ->> 'actor', c.*
      FROM (SELECT audit._apply_policy(
                       audit._row_key(p.new, v_key_columns, TG_RELID), v_policy) AS key,
                   v.old, v.new, row_number() OVER (ORDER BY p.position) AS position
              FROM (SELECT o.position,
                           CASE WHEN v_plain THEN to_jsonb(o.row)
                                ELSE audit._row_to_jsonb(o.row) END AS old,
                           CASE WHEN v_plain THEN to_jsonb(n.row)
                                ELSE audit._row_to_jsonb(n.row) END AS new
                      FROM (SELECT r.*::record AS row, row_number() OVER () AS position
                              FROM old_rows AS r) AS o
                      JOIN (SELECT r.*::record AS row, row_number() OVER () AS position
                              FROM new_rows AS r) AS n ON n.position = o.position
                     WHERE o.row OPERATOR(pg_catalog.*<>) n.row OFFSET 0) AS p
             CROSS JOIN LATERAL (
                   SELECT ARRAY(SELECT e.key FROM jsonb_each(p.old) AS e
                                 WHERE ROW(e.value)::record OPERATOR(pg_catalog.*=)
                                       ROW(p.new -> e.key)::record) AS same OFFSET 0) AS s
             CROSS JOIN LATERAL (
                   SELECT audit._apply_policy(p.old - s.same, v_policy) AS old,
                          audit._apply_policy(p.new - s.same, v_policy) AS new OFFSET 0) AS v
             WHERE v.old <> '{}' OFFSET 0) AS d
      LEFT JOIN audit._context_columns(v_context) AS c ON d.position = 1;
    RETURN NULL;
END;
$capture_update$;

COMMENT ON FUNCTION audit.capture_update() IS
    'Trigger function: record the rows of an UPDATE. Attached by audit.attach().';
REVOKE ALL ON FUNCTION audit.capture_update() FROM PUBLIC;
