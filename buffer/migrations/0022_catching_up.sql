-- After a restore: feeds of orders that have not delivered yet all that they had then ("": any). What comes until then
-- may have been confirmed already by the database that is gone; its first confirmation waits for a person.

CREATE TABLE catching_up (
    connector TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;

CREATE TRIGGER job_while_catching_up AFTER INSERT ON job WHEN EXISTS (SELECT 1 FROM catching_up)
BEGIN
    INSERT OR IGNORE INTO restored_operation (order_id, operation) VALUES (NEW.order_id, NEW.operation);
END;
