-- Whether pg_partman makes the partitions: it was chosen, can be used, and knows of the interval.
-- Where it is gone, was granted no longer, or came back, audit_schema makes them itself.
CREATE OR REPLACE FUNCTION audit._uses_partman()
    RETURNS boolean
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $_uses_partman$
DECLARE
    v_setting audit.setting;
    v_registered boolean;
BEGIN
    SELECT * INTO STRICT v_setting FROM audit.setting;
    IF v_setting.partition_backend <> 'pg_partman'
            OR audit._partman_remedy() IS NOT NULL THEN
        RETURN false;
    END IF;
    EXECUTE format('SELECT EXISTS (SELECT FROM %I.part_config WHERE parent_table = $1 '
                   'AND partition_interval::interval = $2)', audit._partman_schema())
       INTO v_registered USING 'audit.event', ('1 ' || v_setting.partition_interval)::interval;
    RETURN v_registered;
END;
$_uses_partman$;

COMMENT ON FUNCTION audit._uses_partman() IS
    'Internal: whether pg_partman was chosen and can be used now.';
REVOKE ALL ON FUNCTION audit._uses_partman() FROM PUBLIC;
