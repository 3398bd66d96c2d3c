-- All changes of one transaction, in the order in which they were made.
-- Planned anew for each call: a plan for any period would read and lock every partition.
CREATE OR REPLACE FUNCTION audit.transaction_changes(p_transaction_id uuid)
    RETURNS SETOF audit.change
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = force_custom_plan
AS $transaction_changes$
DECLARE
    v_key record;
BEGIN
    SELECT * INTO v_key FROM audit._transaction_key(p_transaction_id);
    RETURN QUERY
    SELECT c.* FROM audit.change AS c
     WHERE c.started_at = v_key.started_at AND c.xid = v_key.xid
     ORDER BY c.event_id;
END;
$transaction_changes$;

COMMENT ON FUNCTION audit.transaction_changes(uuid) IS
    'The changes of one transaction, oldest first, as rows of audit.change; none for an id that '
    'is not recorded.';
REVOKE ALL ON FUNCTION audit.transaction_changes(uuid) FROM PUBLIC;
