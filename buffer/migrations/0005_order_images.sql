-- Images of orders: each content once, whichever operations and revisions refer to it by its digest.

CREATE TABLE order_image (
    digest TEXT PRIMARY KEY,
    document BLOB NOT NULL
) STRICT;
