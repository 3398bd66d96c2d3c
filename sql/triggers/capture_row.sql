-- Record one event for one inserted, updated or deleted row.
-- Fired AFTER each row. Arguments: id of the tracked table, its key columns as text[], its policy
-- (see audit._policy()), and a fourth one where an actor is required. SECURITY DEFINER: the writer
-- has no right on the trail. The settings fix how values are rendered, so that a change reads the
-- same whoever made it. An update is recorded by the columns whose stored form changed; one that
-- JSON cannot show is not recorded.
CREATE OR REPLACE FUNCTION audit.capture_row()
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
AS $capture_row$
DECLARE
    v_table integer := TG_ARGV[0]::integer;
    v_key_columns text[] := TG_ARGV[1]::text[];
    -- whether to_jsonb() can't run foreign code: only types that are not PostgreSQL's own are
    -- dependencies of a table
    v_plain boolean := NOT EXISTS (
        SELECT FROM pg_depend AS d
         WHERE d.classid = 'pg_class'::regclass AND d.objid = TG_RELID
           AND d.refclassid = 'pg_type'::regclass);
    v_policy jsonb := CASE WHEN TG_ARGV[2] <> '{}' THEN audit._policy(TG_RELID, TG_ARGV[2]) END;
    v_old jsonb;
    v_new jsonb;
    v_key jsonb;
    v_same text[];
    v_context jsonb;
BEGIN
    IF TG_OP <> 'INSERT' THEN
        v_old := CASE WHEN v_plain THEN to_jsonb(OLD) ELSE audit._row_to_jsonb(OLD) END;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        v_new := CASE WHEN v_plain THEN to_jsonb(NEW) ELSE audit._row_to_jsonb(NEW) END;
    END IF;
    v_key := audit._row_key(COALESCE(v_new, v_old), v_key_columns, TG_RELID);
    IF TG_OP = 'UPDATE' THEN
        /* leave out what stayed the same, compared byte for byte: equality takes 1.0 for 1.00 */
        v_same := ARRAY(SELECT o.key FROM jsonb_each(v_old) AS o
                         WHERE ROW(o.value)::record OPERATOR(pg_catalog.*=)
                               ROW(v_new -> o.key)::record);
        v_old := v_old - v_same;
        v_new := v_new - v_same;
    END IF;
    IF v_policy IS NOT NULL THEN
        v_old := audit._mask(v_old, v_policy);
        v_new := audit._mask(v_new, v_policy);
        v_key := audit._apply_policy(v_key, v_policy);
    END IF;
    IF TG_OP = 'UPDATE' AND v_old = '{}' THEN
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
    INSERT INTO audit.event (
        started_at, occurred_at, xid, tracked_table_id, action,
        row_key, row_hash, old_values, new_values,
        actor, actor_type, actor_label, metadata,
        backend_pid, client_port, client_addr,
        database_user, database_role, application_name)
    VALUES (
        now(), clock_timestamp(), txid_current(), v_table, lower(TG_OP COLLATE "C"),
        v_key, jsonb_hash_extended(v_key, v_table), v_old, v_new,
        v_context ->> 'actor', v_context ->> 'actor_type', v_context ->> 'actor_label',
        v_context -> 'metadata', pg_backend_pid(), inet_client_port(), inet_client_addr(),
        session_user, NULLIF(current_setting('role'), 'none'),
        NULLIF(current_setting('application_name'), ''));
    RETURN NULL;
END;
$capture_row$;

COMMENT ON FUNCTION audit.capture_row() IS
    'Trigger function: record one event for one changed row. Attached by audit.attach().';
REVOKE ALL ON FUNCTION audit.capture_row() FROM PUBLIC;
