-- Record one event for each row of a DELETE statement.
-- Fired AFTER the statement, with its transition table old_rows. SECURITY DEFINER: the writer has
-- no right on the trail. The rest is as in capture_insert.
CREATE OR REPLACE FUNCTION audit.capture_delete()
    RETURNS trigger
    LANGUAGE plpgsql
    VOLATILE
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET jit = off
    SET plan_cache_mode = force_generic_plan
    SET "TimeZone" = 'UTC'
    SET "DateStyle" = 'ISO, YMD'
    SET "IntervalStyle" = 'postgres'
    SET bytea_output = 'hex'
    SET extra_float_digits = '1'
    SET lc_monetary = 'C'
    SET quote_all_identifiers = off
AS $capture_delete$
#variable_conflict use_variable
DECLARE
    v_table integer := TG_ARGV[0]::integer;
    v_key_columns text[] := TG_ARGV[1]::text[];
    v_old jsonb;
    v_more boolean;
    v_key jsonb;
    v_context jsonb;
    v_plain boolean;
    v_policy jsonb;
    v_first bigint;
BEGIN
    /* the first row, and whether there are more. The row is NULL where a policy applies, or
       where to_jsonb() might run foreign code: only types that are not PostgreSQL's own are
       dependencies of a table */
    SELECT CASE WHEN TG_ARGV[2] = '{}'
                 AND NOT EXISTS (SELECT FROM pg_depend AS d
                                  WHERE d.classid = 'pg_class'::regclass AND d.objid = TG_RELID
                                    AND d.refclassid = 'pg_type'::regclass)
                THEN to_jsonb(r.*) END,
           EXISTS (SELECT FROM old_rows OFFSET 1)
      INTO v_old, v_more
      FROM old_rows AS r LIMIT 1;
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

    IF NOT v_more AND v_old IS NOT NULL THEN
        v_key := audit._row_key(v_old, v_key_columns, TG_RELID);
        INSERT INTO audit.event (
            started_at, occurred_at, xid, tracked_table_id, action,
            row_key, row_hash, old_values,
            actor, actor_type, actor_label, metadata,
            backend_pid, client_port, client_addr,
            database_user, database_role, application_name)
        VALUES (
            now(), clock_timestamp(), txid_current(), v_table, 'delete',
            v_key, jsonb_hash_extended(v_key, v_table), v_old,
            v_context ->> 'actor', v_context ->> 'actor_type', v_context ->> 'actor_label',
            v_context -> 'metadata', pg_backend_pid(), inet_client_port(), inet_client_addr(),
            session_user, NULLIF(current_setting('role'), 'none'),
            NULLIF(current_setting('application_name'), ''));
        RETURN NULL;
    END IF;

    v_plain := v_old IS NOT NULL OR NOT audit._has_foreign_types(TG_RELID);
    v_policy := audit._policy(TG_RELID, TG_ARGV[2]);
    v_first := nextval('audit.event_id_seq');
    /* OFFSET 0 keeps the planner from converting each row twice; r.* is the row even where the
       table has a column r */
    INSERT INTO audit.event (
        id, context_id, started_at, occurred_at, xid, tracked_table_id, action, row_key,
        row_hash, old_values, actor, actor_type, actor_label, metadata, backend_pid,
        client_port, client_addr, database_user, database_role, application_name)
    SELECT CASE WHEN n.position = 1 THEN v_first ELSE nextval('audit.event_id_seq') END,
           CASE WHEN n.position > 1 THEN v_first END,
           now(), clock_timestamp(), txid_current(), v_table, 'delete',
           n.key, jsonb_hash_extended(n.key, v_table),
           audit._apply_policy(n.row, v_policy), v_context ->> 'actor', c.*
      FROM (SELECT j.row, j.position,
                   audit._apply_policy(
                       audit._row_key(j.row, v_key_columns, TG_RELID), v_policy) AS key
              FROM (SELECT CASE WHEN v_plain THEN to_jsonb(r.*)
                                ELSE audit._row_to_jsonb(r.*) END AS row,
                           row_number() OVER () AS position
                      FROM old_rows AS r OFFSET 0) AS j OFFSET 0) AS n
      LEFT JOIN audit._context_columns(v_context) AS c ON n.position = 1;
    RETURN NULL;
END;
$capture_delete$;

COMMENT ON FUNCTION audit.capture_delete() IS
    'Trigger function: record the rows of a DELETE. Attached by audit.attach().';
REVOKE ALL ON FUNCTION audit.capture_delete() FROM PUBLIC;
