-- One row: the settings of the transaction by name, and the encoding in which the source stores text.
SELECT
    current_setting('timezone') AS timezone,
    current_setting('client_encoding') AS client_encoding,
    split_part(current_setting('datestyle'), ',', 1) AS datestyle,
    current_setting('intervalstyle') AS intervalstyle,
    current_setting('extra_float_digits') AS extra_float_digits,
    current_setting('standard_conforming_strings') AS standard_conforming_strings,
    current_setting('transaction_isolation') AS transaction_isolation,
    current_setting('transaction_read_only') AS transaction_read_only,
    (extract(EPOCH FROM current_setting('statement_timeout')::interval) * 1000)::bigint::text AS statement_timeout,
    current_setting('server_encoding') AS server_encoding;
