-- From which offset on the records are in MongoDB, too; null while they are not written there. What was read before
-- MongoDB was configured is not in it.
ALTER TABLE ledger ADD COLUMN mongodb_since bigint;
UPDATE ledger SET mongodb_since = first_offset WHERE mongodb;
