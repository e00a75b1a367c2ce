-- Confirmations that the target has booked without their material, so that they are counted without reading them all.

CREATE INDEX outbox_goods_errors ON outbox (target, id)
WHERE state = 'posted' AND error_kind = 'goods_movement_error';
