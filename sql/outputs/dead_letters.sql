-- Records that became no row: malformed, late, duplicate, or from the future; with their bytes. The watermark
-- that judged them is not stored: it depends on the batches, and another run over the same records finds equal documents.
CREATE EXTERNAL TABLE dead_letters
STORED AS MONGODB
LOCATION '${MONGODB_DATABASE:-ecomm_mart}.dead_letters';

INSERT INTO dead_letters
SELECT
    topic,
    "partition",
    "offset",
    "timestamp",
    "key",
    "value",
    headers,
    reason,
    error,
    event_time
FROM dead_letters;
