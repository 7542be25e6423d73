-- Which rows a message brought, by partition and offset together. By the offset alone nearly every block may hold any of
-- them, because the partitions of a topic are stored side by side and do not advance alike. With several narrow ranges
-- a block, one for each partition that it has rows of, few blocks are left, and the index still costs next to nothing to
-- keep. The months of a partitioned table get it from the table.
DROP INDEX sms_offset, events_offset, call_logs_offset, apps_and_device_offset, contacts_offset;
CREATE INDEX sms_message ON sms
    USING brin (((partition::bigint << 48) | "offset") int8_minmax_multi_ops (values_per_range = 64))
    WITH (pages_per_range = 32, autosummarize = on);
CREATE INDEX events_message ON events
    USING brin (((partition::bigint << 48) | "offset") int8_minmax_multi_ops (values_per_range = 64))
    WITH (pages_per_range = 32, autosummarize = on);
CREATE INDEX call_logs_message ON call_logs
    USING brin (((partition::bigint << 48) | "offset") int8_minmax_multi_ops (values_per_range = 64))
    WITH (pages_per_range = 32, autosummarize = on);
-- Rows that replace others lie anywhere: so few blocks together that each of their messages is kept by itself.
CREATE INDEX apps_and_device_message ON apps_and_device
    USING brin (((partition::bigint << 48) | "offset") int8_minmax_multi_ops (values_per_range = 256))
    WITH (pages_per_range = 4, autosummarize = on);
CREATE INDEX contacts_message ON contacts
    USING brin (((partition::bigint << 48) | "offset") int8_minmax_multi_ops (values_per_range = 256))
    WITH (pages_per_range = 4, autosummarize = on);
