-- Start time and xid of a transaction, from its id: the reverse of audit.transaction_id().
CREATE OR REPLACE FUNCTION audit._transaction_key(
    p_transaction_id uuid,
    OUT started_at timestamptz,
    OUT xid bigint)
    LANGUAGE sql
    STABLE
    PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $_transaction_key$
    SELECT audit._from_microseconds(
               ('x' || lpad(substr(t.hex, 1, 12) || substr(t.hex, 14, 3), 16, '0'))
               ::bit(64)::bigint),
           ('x' || substr(t.hex, 17))::bit(64)::bigint & ((1::bigint << 62) - 1)
      FROM (SELECT replace(p_transaction_id::text, '-', '')) AS t (hex)
$_transaction_key$;

COMMENT ON FUNCTION audit._transaction_key(uuid) IS
    'Internal: start time and xid packed into a transaction id.';
REVOKE ALL ON FUNCTION audit._transaction_key(uuid) FROM PUBLIC;
